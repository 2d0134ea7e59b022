"""The jobs beside the refresh, with Dagster's own storage in PostgreSQL.

The tests of this module are one story on one database and run in the order they stand in.
"""

import threading

import dagster as dg
import pytest
from psycopg import sql

from ingest.connection import connect
from orchestration import failures, maintenance
from orchestration.defs.sensors import run_failed
from tests.orchestration.conftest import Warehouse, assert_success, failure_of, write_events


def test_a_refresh_to_begin_with(warehouse: Warehouse) -> None:
    times = ("2026-03-02T12:00:00Z", "2026-03-02T12:05:00Z")
    write_events(warehouse.inbox / "events-1.ndjson", "s1", *times)
    write_events(warehouse.inbox / "events-2.ndjson", "s2", "2026-03-02T13:00:00Z")
    assert_success(warehouse.refresh())


def test_a_backfill_makes_its_day_anew(warehouse: Warehouse) -> None:
    with connect(warehouse.server, autocommit=True) as connection:
        connection.execute("update marts.agg_daily_stats set total_sessions = 99")
    job = warehouse.definitions.resolve_job_def("backfill")

    assert_success(
        job.execute_in_process(instance=warehouse.instance, partition_key="2026-03-02", raise_on_error=False)
    )

    assert warehouse.ask("select stat_date::text, total_sessions from marts.agg_daily_stats") == [("2026-03-02", 2)]


def test_maintenance_makes_partitions_and_statistics_and_leaves_what_is_locked(warehouse: Warehouse) -> None:
    job = warehouse.definitions.resolve_job_def("maintenance")
    config = {"ops": {"look_after": {"config": {"days_ahead": 30}}}}
    with connect(warehouse.server) as other:
        other.execute("lock table marts.fct_events in share update exclusive mode")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(maintenance, "LOCK_TIMEOUT", "100ms")
            result = job.execute_in_process(instance=warehouse.instance, run_config=config, raise_on_error=False)
        other.rollback()
    assert_success(result)
    ahead = "select count(*) from pg_class where relname = 'events_audit_' || to_char(current_date + 30, 'YYYYMMDD')"
    assert warehouse.value(ahead) == 1
    told = next(event for event in result.all_events if event.is_step_success or event.is_successful_output)
    metadata = told.event_specific_data.metadata
    assert metadata["left_because_locked"].value == ["marts.fct_events"]
    assert metadata["partitions_made"].value > 0
    assert warehouse.value("select reltuples >= 0 from pg_class where oid = 'raw.events'::regclass")


def test_retention_is_tried_first_and_then_done(warehouse: Warehouse) -> None:
    job = warehouse.definitions.resolve_job_def("retention")
    config = {"ops": {"take_away_what_is_over_its_age": {"config": {"dry_run": True}}}}

    assert_success(job.execute_in_process(instance=warehouse.instance, run_config=config, raise_on_error=False))
    assert warehouse.value("select horizon = '-infinity' from ops.horizon")

    # The events of these tests are of March 2026, months ago, and were received today: they are closed, raw stays.
    assert_success(job.execute_in_process(instance=warehouse.instance, raise_on_error=False))
    assert warehouse.value("select horizon::date = (now() at time zone 'UTC')::date - 90 from ops.horizon")
    assert_success(warehouse.refresh())
    assert warehouse.value("select count(*) from marts.fct_events") == 0
    assert warehouse.ask("select stat_date::text, total_sessions from marts.agg_daily_stats") == [("2026-03-02", 2)]


@pytest.mark.parametrize("days", [("2026-03-02'; drop schema raw cascade; --", "2026-03-02"), ("' or 1=1 --", "x")])
def test_sql_in_the_configuration_is_refused_as_text(warehouse: Warehouse, days: tuple[str, str]) -> None:
    loads = warehouse.value("select count(*) from raw.loads")
    result = warehouse.replay(*days)
    assert not result.success
    assert "is no day" in failure_of(result)
    assert warehouse.value("select count(*) from raw.loads") == loads


def test_a_server_that_is_gone_for_a_while_is_waited_for(warehouse: Warehouse) -> None:
    job = warehouse.definitions.resolve_job_def("maintenance")
    name = sql.Identifier(warehouse.server.database)
    elsewhere = warehouse.server.with_database("postgres")
    with connect(elsewhere, autocommit=True) as other, pytest.MonkeyPatch.context() as patch:
        patch.setattr(failures, "SECONDS_BETWEEN", 2)
        other.execute(sql.SQL("alter database {} allow_connections false").format(name))
        back = threading.Timer(
            3, lambda: other.execute(sql.SQL("alter database {} allow_connections true").format(name))
        )
        back.start()
        try:
            result = job.execute_in_process(instance=warehouse.instance, raise_on_error=False)
        finally:
            back.join()
    assert_success(result)
    assert [event for event in result.all_events if event.is_step_restarted or event.is_step_up_for_retry]


def test_a_failed_run_is_written_down_once(warehouse: Warehouse) -> None:
    result = warehouse.replay("2026-03-03", "2026-03-02")
    event = next(each for each in result.all_events if each.is_failure and not each.is_step_event)
    context = dg.build_run_status_sensor_context(
        sensor_name="run_failed",
        dagster_instance=warehouse.instance,
        dagster_run=warehouse.instance.get_run_by_id(result.run_id),
        dagster_event=event,
    ).for_run_failure()
    for _ in range(2):
        run_failed(context)
    failed = warehouse.ask("select run_id, job, error from ops.run_failures")
    assert [row[:2] for row in failed] == [(result.run_id, "replay")]
    assert "comes after the last" in failed[0][2]
