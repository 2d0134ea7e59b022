"""The refresh job against a real warehouse, with Dagster's own storage in PostgreSQL.

The tests of this module are one story on one database and run in the order they stand in.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage
from psycopg import sql

from ingest.connection import Server, connect
from ingest.load import load_file
from orchestration import failures, maintenance
from orchestration.definitions import definitions
from orchestration.defs.sensors import run_failed
from orchestration.instance import prepare_instance

EVENTS = dg.AssetKey(["marts", "fct_events"])
SESSIONS = dg.AssetKey(["marts", "fct_sessions"])
SESSION_TYPES = dg.AssetCheckKey(SESSIONS, "fct_sessions_session_type_accepted")


@dataclass
class Warehouse:
    """A database, its inbox, and Dagster around them."""

    server: Server
    inbox: Path
    instance: dg.DagsterInstance
    definitions: dg.Definitions

    def refresh(self) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def("refresh").execute_in_process(
            instance=self.instance, raise_on_error=False
        )

    def replay(self, first: str, last: str) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def("replay").execute_in_process(
            instance=self.instance, run_config={"from": first, "to": last}, raise_on_error=False
        )

    def materialize(self, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=list(keys), instance=self.instance, raise_on_error=False
        )

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with connect(self.server, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def value(self, query: str) -> Any:
        return self.ask(query)[0][0]

    def check_keys(self) -> set[dg.AssetCheckKey]:
        return set(self.definitions.resolve_asset_graph().asset_check_keys)

    def mark(self) -> int:
        return self.value("select completed_seq from ops.bounds where target = 'prod'")


@pytest.fixture(scope="module")
def warehouse(make_database: Callable[[], Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    server = make_database()
    inbox = tmp_path_factory.mktemp("inbox")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMARK_INBOX", str(inbox))
        patch.delenv("DATABASE_URL", raising=False)
        for name, value in prepare_instance(server).items():
            if os.environ.get(name) != value:
                patch.setenv(name, value)
        with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
            yield Warehouse(server, inbox, instance, definitions())


def write_events(path: Path, session: str, *times: str) -> None:
    """Events of one session and of a visitor nobody else is, an id and a time each."""
    lines = [
        {
            "eventId": f"{session}-{number}",
            "eventName": "button_clicked",
            "funnelId": "shop",
            "anonymousId": f"visitor of {session}",
            "sessionId": session,
            "timestamp": time,
        }
        for number, time in enumerate(times)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(path, (1, 1))  # Settled: nobody is writing it any more.


def assert_success(result: dg.ExecuteInProcessResult) -> None:
    assert result.success, failure_of(result)


def failed_checks(result: dg.ExecuteInProcessResult) -> set[dg.AssetCheckKey]:
    return {check.asset_check_key for check in result.get_asset_check_evaluations() if not check.passed}


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step says, as a user reads it."""
    failed = [event for event in result.all_events if event.is_step_failure]
    assert len(failed) == 1
    return failed[0].step_failure_data.error.message


def test_a_refresh_brings_the_inbox_into_the_marts(warehouse: Warehouse) -> None:
    write_events(warehouse.inbox / "events-1.ndjson", "s1", "2026-03-02T12:00:00Z", "2026-03-02T12:05:00Z")

    result = warehouse.refresh()

    assert_success(result)
    assert warehouse.value("select count(*) from marts.fct_events") == 2
    # Five minutes apart: one visit.
    assert warehouse.ask("select started_at::date::text, duration_seconds from marts.fct_sessions") == [
        ("2026-03-02", 300)
    ]
    assert warehouse.mark() == 1
    assert [file.name for file in (warehouse.inbox / "done").iterdir()] == ["events-1.ndjson"]
    assert not list(warehouse.inbox.glob("*.ndjson"))


def test_the_run_is_recorded_in_postgresql(warehouse: Warehouse) -> None:
    assert isinstance(warehouse.instance.event_log_storage, PostgresEventLogStorage)
    job = warehouse.definitions.resolve_job_def("refresh")
    every_asset = job.asset_layer.selected_asset_keys
    materialized = {key for key in every_asset if warehouse.instance.get_latest_materialization_event(key) is not None}
    assert materialized == every_asset
    chosen = warehouse.definitions.resolve_job_def("refresh").asset_layer.data
    checks = {key for data in chosen for key in data.assets_def.check_keys}
    assert len(checks) > 1
    latest = warehouse.instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    assert set(latest) == set(checks)
    assert {record.evaluation.passed for record in latest.values()} == {True}
    loaded = warehouse.instance.get_latest_materialization_event(dg.AssetKey(["raw", "events"]))
    metadata = loaded.asset_materialization.metadata
    assert (metadata["files"].value, metadata["rows_loaded"].value) == (1, 2)


def test_some_assets_alone_are_built_to_the_mark(warehouse: Warehouse, tmp_path: Path) -> None:
    unseen = tmp_path / "events-2.ndjson"
    write_events(unseen, "s2", "2026-03-02T13:00:00Z")
    with connect(warehouse.server, autocommit=True) as connection:
        load_file(connection, unseen)

    result = warehouse.materialize(EVENTS, SESSIONS)

    assert_success(result)
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {EVENTS, SESSIONS}
    theirs = {key for key in warehouse.check_keys() if key.asset_key in (EVENTS, SESSIONS)}
    assert SESSION_TYPES in theirs
    assert {check.asset_check_key for check in result.get_asset_check_evaluations()} == theirs
    assert warehouse.value("select count(*) from marts.fct_events") == 2
    assert warehouse.mark() == 1
    assert warehouse.value("select count(*) from ops.refreshes") == 1


def test_a_failed_model_fails_the_run_and_leaves_the_mark(warehouse: Warehouse) -> None:
    with connect(warehouse.server, autocommit=True) as connection:
        connection.execute("alter table marts.fct_events rename column event_name to gone")

    result = warehouse.refresh()

    assert not result.success
    message = failure_of(result)
    assert "models failed or were skipped (fct_events" in message
    assert "the mark stays" in message
    assert EVENTS not in {event.asset_key for event in result.get_asset_materialization_events()}
    assert {check.check_name for check in result.get_asset_check_evaluations()} == {"inbox_files_loaded"}
    assert warehouse.mark() == 1
    last = "select phase, failed_at is not null from ops.refreshes order by refresh_id desc limit 1"
    assert warehouse.ask(last) == [("models", True)]


def test_everything_picked_by_hand_is_a_refresh_too_and_takes_up_what_the_failed_one_left(warehouse: Warehouse) -> None:
    with connect(warehouse.server, autocommit=True) as connection:
        connection.execute("alter table marts.fct_events rename column gone to event_name")
        # Nothing new touches the one session there is, so its row stays as it is now.
        connection.execute("update marts.fct_sessions set session_type = 'nonsense'")

    result = warehouse.materialize(*warehouse.definitions.resolve_asset_graph().executable_asset_keys)

    assert_success(result)
    assert warehouse.mark() == 2
    assert warehouse.value("select count(*) from marts.fct_events") == 3
    # A failed test alerts and stops nothing.
    failed = failed_checks(result)
    assert SESSION_TYPES in failed
    last = "select tests_failed from ops.refreshes order by refresh_id desc limit 1"
    assert warehouse.value(last) == len(failed)


def test_all_checks_run_without_building_anything(warehouse: Warehouse) -> None:
    job = warehouse.definitions.resolve_job_def("nightly")
    result = job.execute_in_process(instance=warehouse.instance, raise_on_error=False)

    assert_success(result)
    made = result.get_asset_materialization_events()
    assert [event.asset_key for event in made] == [dg.AssetKey(["docs", "relations_and_columns"])]
    page = Path(str(made[0].materialization.metadata["page"].value))
    # The page stands alone, and knows a mart and what its grain is.
    assert "One row per visit" in page.read_text(encoding="utf-8")
    told = {check.asset_check_key for check in result.get_asset_check_evaluations()}
    assert told == {key for key in warehouse.check_keys() if key.name != "inbox_files_loaded"}
    assert SESSION_TYPES in failed_checks(result)


def test_a_replay_mends_its_days_and_refuses_days_that_make_no_sense(warehouse: Warehouse) -> None:
    with connect(warehouse.server, autocommit=True) as connection:
        connection.execute("update marts.fct_events set event_name = 'wrong'")
        connection.execute("update marts.agg_daily_stats set total_sessions = 99")

    assert_success(warehouse.replay("2026-03-02", "2026-03-02"))

    assert warehouse.ask("select distinct event_name from marts.fct_events") == [("button_clicked",)]
    # The sample's third event is a session of its own, the first two are one.
    assert warehouse.ask("select stat_date::text, total_sessions from marts.agg_daily_stats") == [("2026-03-02", 2)]
    assert SESSION_TYPES not in failed_checks(warehouse.refresh())

    assert "comes after the last" in failure_of(warehouse.replay("2026-03-03", "2026-03-02"))


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


def test_a_second_refresh_is_refused_with_one_line(warehouse: Warehouse) -> None:
    with connect(warehouse.server, autocommit=True) as other:
        other.execute("select pg_advisory_lock(hashtext('tidemark.refresh'), hashtext('prod'))")
        result = warehouse.refresh()
    assert not result.success
    message = failure_of(result).strip()
    assert message.startswith("dagster._core.definitions.events.Failure: Another refresh of prod is running")
    assert "\n" not in message
    assert warehouse.mark() == 2


def test_a_broken_file_fails_a_check_and_not_the_run(warehouse: Warehouse) -> None:
    broken = warehouse.inbox / "events-4.ndjson.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00 cut off")
    os.utime(broken, (1, 1))

    streams = [spec.key for spec in warehouse.definitions.resolve_all_asset_specs() if spec.key.path[0] == "raw"]
    result = warehouse.materialize(*streams)

    assert_success(result)
    passed = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert passed["inbox_files_loaded"] is False
    assert (warehouse.inbox / "failed" / broken.name).exists()


def test_no_password_is_on_disk(warehouse: Warehouse) -> None:
    password = warehouse.server.parameters.get("password")
    if not password:
        pytest.skip("this server wants none")
    written = [file for file in Path(os.environ["DAGSTER_HOME"]).rglob("*") if file.is_file()]
    assert any(file.name == "run_results.json" for file in written)
    assert not [file for file in written if password.encode() in file.read_bytes()]
