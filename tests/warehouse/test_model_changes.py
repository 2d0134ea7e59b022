"""What was edited builds itself whole, with what stands on it; every other table keeps its rows where they are."""

from __future__ import annotations

from pathlib import Path

from tests.warehouse.conftest import STREAMS, Warehouse, assert_same

# They stand on none of the edits below.
UNTOUCHED = ("int_batches", "int_visits", "int_sessions", "fct_events", "fct_page_views", "fct_llm_requests")
DESCRIBED = 'description: "Name as sent."'
DESCRIBED_ANEW = 'description: "What happened, as the producer names it."'
COMMENT = """
    select col_description(attrelid, attnum) from pg_attribute
    where attrelid = 'marts.fct_events'::regclass and attname = 'event_name'
"""
ONE_MORE = b'{"eventName": "button_clicked", "anonymousId": "a1", "timestamp": "2026-03-20T10:00:00Z"}'
EDITED_OR_BELOW = {"fct_goals", "agg_session_activity", "fct_sessions", "agg_daily_stats", "agg_cost_daily"}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def places(warehouse: Warehouse) -> dict[str, list[tuple]]:
    """Where each row of the untouched tables stands, and which transaction wrote it."""
    return {
        name: warehouse.query(
            f"select tableoid, ctid::text, xmin::text from {'marts' if name[0] == 'f' else 'intermediate'}.{name}"
            " order by ctid"
        )
        for name in UNTOUCHED
    }


def test_an_edited_seed_macro_and_model_rebuild_what_stands_on_them_and_nothing_else(
    project, make_warehouse, small_sample
):
    def load(warehouse: Warehouse) -> Warehouse:
        for stream in STREAMS:
            warehouse.load(stream, small_sample[stream][::3])
        return warehouse

    warehouse = load(make_warehouse())
    warehouse.refresh()
    before, where = warehouse.contents(), places(warehouse)
    assert all(where.values())

    goal = warehouse.query(
        "select goal_name from marts.fct_goals where is_conversion group by 1 order by count(*) desc, 1 limit 1"
    )[0][0]
    rules = project / "seeds" / "goal_rules.csv"
    header, *rows = rules.read_text().splitlines()
    columns = header.split(",")
    values = {"goal_name": goal, "is_conversion": "false"}
    row = ",".join(values.get(column, "") for column in columns)
    rules.write_text("\n".join([header, *(kept for kept in rows if not kept.startswith(f"{goal},")), row]) + "\n")
    edit(project / "macros" / "top_values.sql", "where place <= 20", "where place <= 1")
    daily_cost = project / "models" / "marts" / "llm" / "agg_cost_daily.sql"
    daily_cost.write_text(daily_cost.read_text().replace("'unattributed'", "'-'"))

    run = warehouse.refresh()

    assert set(run.rebuilt) >= EDITED_OR_BELOW
    assert not set(run.rebuilt) & set(UNTOUCHED)
    assert places(warehouse) == where
    after = warehouse.contents()
    for name in EDITED_OR_BELOW:
        assert after[f"marts.{name}"] != before[f"marts.{name}"], name
    fresh = load(make_warehouse())
    fresh.refresh()
    assert_same(fresh.contents(), after)
    assert warehouse.refresh().rebuilt == []

    # A description says nothing about rows: it reaches the database, and nothing is rebuilt.
    edit(project / "models" / "marts" / "core" / "_core__models.yml", DESCRIBED, DESCRIBED_ANEW)
    warehouse.load("events", [ONE_MORE])
    assert warehouse.refresh().rebuilt == []
    assert warehouse.query(COMMENT) == [("What happened, as the producer names it.",)]
