"""A model built whole takes the place of what has its name, whatever that is, and only when it is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingest.errors import TidemarkError
from tests.warehouse.conftest import Warehouse

EVENT = {"eventName": "clicked", "anonymousId": "a", "appId": "shop", "timestamp": "2026-03-01T10:00:00Z"}
FIRST_SEEN = "min(session_date) as first_session_date"
STANDING = """
    select relname, relkind::text, has_table_privilege('tidemark_bi', oid, 'select'), obj_description(oid),
        exists (select from pg_index where indrelid = pg_class.oid and indisprimary)
    from pg_class
    where relnamespace = 'marts'::regnamespace and relname ~ '^dim_visitor_apps' and relkind in ('r', 'v')
"""


@pytest.fixture
def warehouse(make_warehouse) -> Warehouse:
    built = make_warehouse()
    built.load("events", [json.dumps(EVENT).encode()])
    return built


@pytest.fixture
def model(project: Path) -> Path:
    return project / "models" / "marts" / "core" / "dim_visitor_apps.sql"


def test_a_view_takes_a_tables_place_and_a_table_a_views(model: Path, warehouse: Warehouse):
    def stands() -> tuple[str, bool]:
        ((name, kind, granted, described, keyed),) = warehouse.query(STANDING)
        assert name == "dim_visitor_apps"
        assert granted
        assert described
        assert warehouse.query("select app_id, first_session_date::text from marts.dim_visitor_apps") == [
            ("shop", "2026-03-01")
        ]
        return kind, keyed

    of_table = model.read_text()
    warehouse.refresh()
    assert stands() == ("r", True)

    model.write_text("{{ config(materialized='view') }}" + of_table.split("\n}}\n", 1)[1])
    warehouse.refresh()
    assert stands() == ("v", False)

    model.write_text(of_table)
    warehouse.refresh()
    assert stands() == ("r", True)


def test_a_build_that_fails_leaves_what_was_there(model: Path, warehouse: Warehouse):
    right = model.read_text()
    warehouse.refresh()
    rows = "select tableoid, ctid::text, xmin::text from marts.dim_visitor_apps"
    before, standing = warehouse.query(rows), warehouse.query(STANDING)
    assert before

    assert FIRST_SEEN in right
    model.write_text(right.replace(FIRST_SEEN, "min(session_date) + 1 / (count(*) - 1)::integer as first_session_date"))
    with pytest.raises(TidemarkError, match=r"models failed \(.*dim_visitor_apps"):
        warehouse.refresh()
    assert warehouse.query(rows) == before
    assert warehouse.query(STANDING) == standing

    # The old table stands until the new one is filled: the model itself may read it.
    model.write_text(
        right.replace(FIRST_SEEN, "(select min(first_session_date) from marts.dim_visitor_apps) as first_session_date")
    )
    warehouse.refresh()
    assert warehouse.query(rows) != before
    assert [row[:2] for row in warehouse.query(STANDING)] == [("dim_visitor_apps", "r")]
    assert warehouse.query("select first_session_date::text from marts.dim_visitor_apps") == [("2026-03-01",)]
