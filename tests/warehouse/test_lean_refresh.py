"""A refresh builds and tests what changed and what depends on now, and still mends whatever is not as it should be."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.connection import connect
from ingest.errors import TidemarkError
from orchestration.refresh import Refresh, dbt_arguments, refreshing
from tests.warehouse.conftest import Warehouse, assert_same

OBSERVED = {"metric_observations", "agg_metric_days", "fct_bucket_verdicts"}
DEPEND_ON_NOW = {"fct_anomalies", "agg_forecast_backtests", "agg_visitor_backtests", *OBSERVED}
SEEDS_AND_VIEWS = {"event_roles", "metrics", "stg_events", "int_enriched_events"}


def event(number: int, at: str) -> bytes:
    record = {"eventId": f"e{number}", "eventName": "clicked", "sessionId": f"s{number}", "timestamp": at}
    return json.dumps(record).encode()


@pytest.fixture(scope="module")
def one_visit(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """One visit, built. Copied, never changed."""
    built = make_warehouse()
    built.load("events", [event(1, "2026-03-01T10:00:00Z")])
    built.refresh()
    return built


@pytest.fixture
def warehouse(one_visit: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]) -> Warehouse:
    return copy_warehouse(one_visit)


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    from dbt.cli.main import dbtRunner

    return (
        dbtRunner()
        .invoke(["parse", "--quiet", *dbt_arguments("prod")])
        .result.writable_manifest()
        .to_dict(omit_none=False)
    )


def names(run: Refresh) -> set[str]:
    return {unique_id.split(".")[-1] for unique_id in run.to_build}


def planned(warehouse: Warehouse, manifest: dict[str, Any], tests_failed: tuple[str, ...] = ()) -> set[str]:
    """What a refresh would have dbt build; it ends well without dbt."""
    with refreshing(warehouse.server, "prod", manifest) as run:
        run.tests_failed = list(tests_failed)
    return names(run)


def execute(warehouse: Warehouse, statement: str) -> None:
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute(statement)


@contextlib.contextmanager
def edited(file: Path, old: str, new: str) -> Iterator[None]:
    before = file.read_text(encoding="utf-8")
    assert old in before
    file.write_text(before.replace(old, new, 1), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(before, encoding="utf-8")


def test_with_nothing_new_only_what_depends_on_now_is_built(warehouse):
    before = warehouse.query("select oid::regclass::text, xmin::text from pg_class where relkind in ('r', 'v')")
    run = warehouse.refresh()
    assert names(run) == DEPEND_ON_NOW
    assert run.tests_failed == []
    after = warehouse.query("select oid::regclass::text, xmin::text from pg_class where relkind in ('r', 'v')")
    made = {name for name, _ in set(after) - set(before)}
    # Forecasts of a day that has been forecast are looked at, and left.
    assert {name for name in made if name.startswith(("staging.", "intermediate.", "marts."))} == {
        "marts.fct_anomalies"
    }


def test_new_rows_leave_seeds_and_views_alone(warehouse):
    warehouse.load("events", [event(2, "2026-03-02T10:00:00Z")])
    run = warehouse.refresh()
    assert {"int_visits", "fct_events", "agg_daily_stats", "fct_anomalies"} <= names(run)
    assert not names(run) & SEEDS_AND_VIEWS
    assert warehouse.query("select count(*) from marts.fct_sessions") == [(2,)]


def test_where_nothing_is_listed_nothing_is_written(warehouse):
    execute(
        warehouse,
        """
        create function public.refuse() returns trigger language plpgsql
        as $$ begin raise '% is written', tg_relid::regclass; end $$;
        create trigger refuse before insert or delete on marts.agg_cost_daily execute function public.refuse();
        create trigger refuse before insert or delete on marts.fct_llm_requests execute function public.refuse();
        """,
    )
    warehouse.load("events", [event(2, "2026-03-02T10:00:00Z")])
    with pytest.raises(TidemarkError, match="fct_llm_requests"):
        warehouse.refresh()
    # the session's requests are asked for, there are none, and so no cost of theirs
    execute(warehouse, "drop trigger refuse on marts.fct_llm_requests")
    warehouse.refresh()
    assert warehouse.query("select count(*) from marts.fct_sessions") == [(2,)]


def test_a_table_with_a_column_too_many_is_named(warehouse, capfd):
    execute(warehouse, "alter table marts.fct_goals add column weight integer")
    warehouse.load("events", [event(2, "2026-03-02T10:00:00Z")])
    with pytest.raises(TidemarkError, match="fct_goals"):
        warehouse.refresh()
    assert '"marts"."fct_goals" and what its model selects now differ in weight' in capfd.readouterr().out
    execute(warehouse, "alter table marts.fct_goals drop column weight")
    warehouse.refresh()
    assert warehouse.query("select count(*) from marts.fct_sessions") == [(2,)]


def test_an_edited_seed_an_edited_view_and_a_dropped_one_are_made_again(project, warehouse):
    execute(warehouse, "drop view staging.stg_llm_requests cascade")
    with (
        edited(project / "seeds/goal_rules.csv", "\n", "\nadded by a test,false,\n"),
        edited(project / "models/staging/costs/stg_costs.sql", "    cost_id,", "    cost_id || '' as cost_id,"),
    ):
        run = warehouse.refresh()
        assert {"goal_rules", "stg_costs", "stg_llm_requests"} <= names(run)
        # The goals read the seed; events read none of the three.
        assert "fct_goals" in run.rebuilt
        assert "fct_events" not in names(run)
        assert warehouse.query("select 1 from staging.goal_rules where goal_name = 'added by a test'") == [(1,)]
        assert "(cost_id || ''::text)" in warehouse.query("select pg_get_viewdef('staging.stg_costs'::regclass)")[0][0]
        assert warehouse.query("select count(*) from staging.stg_llm_requests") == [(0,)]
        assert names(warehouse.refresh()) == DEPEND_ON_NOW
    assert {"goal_rules", "stg_costs"} <= names(warehouse.refresh())


def test_a_dropped_table_is_built_whole_with_all_that_stands_on_it(warehouse):
    before = warehouse.contents()
    execute(warehouse, "drop table marts.agg_metric_values, marts.fct_goals cascade")
    run = warehouse.refresh()
    assert {"fct_goals", "agg_metric_values", "agg_session_activity", "fct_sessions"} <= set(run.rebuilt)
    assert "metric_observations" in names(run)
    assert "fct_events" not in names(run)
    assert_same(before, warehouse.contents())


def test_after_a_failure_and_after_dbt_by_hand_no_seed_or_view_is_trusted(warehouse, manifest):
    assert not planned(warehouse, manifest) & SEEDS_AND_VIEWS
    with pytest.raises(ZeroDivisionError), refreshing(warehouse.server, "prod", manifest):
        raise ZeroDivisionError
    assert planned(warehouse, manifest) >= SEEDS_AND_VIEWS
    assert not planned(warehouse, manifest) & SEEDS_AND_VIEWS
    # what dbt does first when it was not a refresh that called it
    warehouse.query("select ops.settle_bounds('prod')")
    found = planned(warehouse, manifest)
    assert found >= SEEDS_AND_VIEWS
    assert not found & {"int_visits", "fct_events"}


def test_a_failed_test_of_a_seed_is_made_again_until_it_passes(warehouse, manifest):
    failing = ("event_roles_role_is_known",)
    assert not planned(warehouse, manifest, failing) & SEEDS_AND_VIEWS
    assert planned(warehouse, manifest, failing) & SEEDS_AND_VIEWS == {"event_roles"}
    assert planned(warehouse, manifest) & SEEDS_AND_VIEWS == {"event_roles"}
    assert not planned(warehouse, manifest) & SEEDS_AND_VIEWS
