"""Law 3: closing days changes nothing that is kept, now or in a later full build."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from orchestration.purge import purge
from tests.warehouse.conftest import STREAMS, Warehouse, assert_same

# What is kept when the events of its days are gone.
KEPT = (
    "intermediate.int_sessions",
    "intermediate.int_visitor_aliases",
    "intermediate.int_identity_edges",
    "intermediate.int_merged_groups",
    "marts.fct_sessions",
    "marts.dim_visitors",
    "marts.dim_visitor_apps",
    "marts.visitor_aliases",
    "marts.agg_daily_stats",
    "marts.fct_llm_requests",
    "marts.agg_cost_daily",
    "marts.agg_metric_values",
    "marts.metric_observations",
    "marts.fct_anomalies",
)
IGNORED = {"intermediate.int_sessions": " - 'is_closed'"}


def kept(warehouse: Warehouse) -> dict[str, list[str]]:
    return {
        relation: sorted(
            row
            for (row,) in warehouse.query(
                f"select (to_jsonb(t) {IGNORED.get(relation, '')})::text from {relation} as t"
            )
        )
        for relation in KEPT
    }


def rebuild(warehouse: Warehouse) -> None:
    """Build every model whole at the next refresh."""
    warehouse.query("delete from ops.model_state returning 1")
    warehouse.refresh()


@pytest.fixture(scope="module")
def built(make_warehouse: Callable[[], Warehouse], small_sample: dict[str, list[bytes]]) -> Warehouse:
    warehouse = make_warehouse()
    for stream in STREAMS:
        warehouse.load(stream, small_sample[stream])
    warehouse.refresh()
    return warehouse


def test_closing_days_changes_nothing_that_is_kept(built, copy_warehouse):
    warehouse = copy_warehouse(built)
    before = kept(warehouse)
    for day in (25, 27, 30):
        done = purge(warehouse.server, date(2026, 3, day))
        assert done.closed_visits > 0
        run = warehouse.refresh()
        assert (run.tests_failed, run.rebuilt) == ([], [])
        assert_same(before, kept(warehouse))
    rebuild(warehouse)
    assert_same(before, kept(warehouse))
