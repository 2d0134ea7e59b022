"""The refresh job against a real warehouse, with Dagster's own storage in PostgreSQL.

The tests of this module are one story on one database and run in the order they stand in.
"""

import os
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage

from ingest.connection import connect
from ingest.load import load_file
from tests.orchestration.conftest import Warehouse, assert_success, failure_of, write_events

EVENTS = dg.AssetKey(["marts", "fct_events"])
SESSIONS = dg.AssetKey(["marts", "fct_sessions"])
SESSION_TYPES = dg.AssetCheckKey(SESSIONS, "fct_sessions_session_type_accepted")


def failed_checks(result: dg.ExecuteInProcessResult) -> set[dg.AssetCheckKey]:
    return {check.asset_check_key for check in result.get_asset_check_evaluations() if not check.passed}


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
