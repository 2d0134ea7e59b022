"""A replay re-processes every session of a range of days, the days and their visitors, and nothing else."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from ingest.sample import AS_OF
from orchestration.dbt_manifest import load_manifest
from orchestration.refresh import PROJECT_FOLDER, refreshing
from orchestration.replay import Days, check_open, days_between, touch_groups
from tests.warehouse.conftest import (
    STREAMS,
    Warehouse,
    assert_same,
    kill_at_a_random_moment,
    without_server_variables,
)

DAYS = days_between("2026-03-26", "2026-03-27")
SPAN = "between '2026-03-26 00:00+00' and '2026-03-27 23:59:59.999999+00'"
DAY_SPAN = "between '2026-03-26' and '2026-03-27'"
HALF = "abs(hashtext(session_group)) % 2 = 0"

# What goes wrong on the two days: rows lost or altered, in whole or in a part of the sessions.
DAMAGE = [
    f"delete from intermediate.int_batch_snapshots where started_at {SPAN} and {HALF}",
    f"update intermediate.int_batches set shared_pages = 7 where started_at {SPAN}",
    f"delete from intermediate.int_batch_pages where viewed_at {SPAN}",
    f"update intermediate.int_batch_values set seen_at = seen_at + interval '3 hours' where seen_at {SPAN}",
    f"delete from intermediate.int_identity_edges where signed_in_at {SPAN} and {HALF}",
    f"update intermediate.int_visitor_aliases set user_id = 'nobody' where signed_in_at {SPAN}",
    f"delete from marts.visitor_aliases where signed_in_at {SPAN}",
    f"delete from intermediate.int_visits where started_at {SPAN}",
    f"update intermediate.int_sessions set visitor_id = gen_random_uuid() where started_at {SPAN} and {HALF}",
    f"delete from intermediate.int_llm_requests where occurred_at {SPAN}",
    f"""
    delete from marts.dim_visitors
    where visitor_id in (select visitor_id from marts.fct_sessions where session_date {DAY_SPAN})
    """,
    f"update marts.dim_visitor_apps set first_session_date = '2026-03-27' where first_session_date {DAY_SPAN}",
    f"delete from marts.fct_events where event_date {DAY_SPAN} and {HALF}",
    f"update marts.fct_page_views set page = '/wrong' where view_date {DAY_SPAN}",
    f"update marts.fct_goals set goal_name = 'wrong' where goal_date {DAY_SPAN}",
    f"delete from marts.fct_llm_requests where request_date {DAY_SPAN}",
    f"delete from marts.fct_sessions where session_date {DAY_SPAN} and {HALF}",
    f"update marts.agg_session_activity set event_count = 99 where path_viewed_at[1] {SPAN}",
    f"delete from marts.agg_daily_stats where stat_date {DAY_SPAN}",
    f"update marts.agg_cost_daily set cost_usd = 1000 where cost_date {DAY_SPAN}",
    f"delete from marts.agg_metric_values where bucket_date {DAY_SPAN}",
]
# Visitors who did nothing within two days of those.
ELSEWHERE = """
    session_group in (
        select session_group from marts.fct_sessions
        where visitor_id in (
            select visitor_id from marts.fct_sessions
            group by visitor_id
            having max(ended_at) < '2026-03-24' or min(started_at) > '2026-03-30'
        )
    )
"""
DAMAGE_ELSEWHERE = [
    f"delete from intermediate.int_visits where {ELSEWHERE}",
    f"update marts.fct_page_views set page = '/wrong' where {ELSEWHERE}",
    f"update marts.fct_sessions set event_count = 99 where {ELSEWHERE}",
    # nothing that keeps rows adds these up
    "delete from marts.agg_usage_daily where usage_date not between '2026-03-24' and '2026-03-30'",
]


def run(warehouse: Warehouse, statements: list[str]) -> int:
    """Run each statement; returns how many rows they changed, each at least one."""
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        changed = {statement: connection.execute(statement).rowcount for statement in statements}
    assert all(changed.values()), changed
    return sum(changed.values())


def replay(warehouse: Warehouse, first: str, last: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "orchestration", "replay", "--from", first, "--to", last, "--quiet"],
        env=without_server_variables() | warehouse.server.environment() | {"TIDEMARK_AS_OF": str(AS_OF)},
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def built(make_warehouse: Callable[[], Warehouse], small_sample: dict[str, list[bytes]]) -> Warehouse:
    """A small sample, built. Copied, never changed."""
    warehouse = make_warehouse()
    for stream in STREAMS:
        warehouse.load(stream, small_sample[stream])
    warehouse.refresh()
    return warehouse


def test_a_replay_mends_its_days_and_leaves_the_rest(built, copy_warehouse):
    warehouse = copy_warehouse(built)
    assert run(warehouse, DAMAGE_ELSEWHERE) > 100
    expected = warehouse.contents()
    assert run(warehouse, DAMAGE) > 1000

    done = replay(warehouse, str(DAYS.first), str(DAYS.last))

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Replay of 2026-03-26 to 2026-03-27, refresh 2 of prod: ")
    assert_same(expected, warehouse.contents())
    assert warehouse.query("select count(*) from ops.touched") == [(0,)]

    # A day that nothing was done on: nothing happens, and that is said.
    nothing = replay(warehouse, "2020-01-01", "2020-01-01")
    assert nothing.returncode == 0, nothing.stdout + nothing.stderr
    assert ": 0 session groups re-processed, 0 models built whole" in nothing.stdout
    assert_same(expected, warehouse.contents())


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.long)])
def test_a_replay_killed_at_moments_nobody_chose_is_done_by_running_it_again(built, copy_warehouse, kills):
    warehouse = copy_warehouse(built)
    run(warehouse, DAMAGE)
    days = ("--from", str(DAYS.first), "--to", str(DAYS.last))
    for _ in range(kills):
        command = ["-m", "orchestration", "replay", *days, "--quiet"]
        kill_at_a_random_moment(warehouse, command, longest=15, TIDEMARK_AS_OF=str(AS_OF))
    done = replay(warehouse, str(DAYS.first), str(DAYS.last))
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(built.contents(), warehouse.contents())
    assert warehouse.query("select count(*) from ops.touched") == [(0,)]


def test_an_interrupted_replay_is_finished_by_the_next_refresh(built, copy_warehouse):
    warehouse = copy_warehouse(built)
    run(warehouse, DAMAGE)
    with pytest.raises(KeyboardInterrupt), refreshing(warehouse.server, "prod", load_manifest(), DAYS):
        raise KeyboardInterrupt
    assert warehouse.query("select error from ops.refreshes order by refresh_id desc limit 1") == [
        ("KeyboardInterrupt: ",)
    ]
    warehouse.refresh()
    assert_same(built.contents(), warehouse.contents())


def event(session: str, at: str) -> tuple[str, dict]:
    return "events", {"eventName": "clicked", "sessionId": session, "timestamp": at}


def batch(session: str, started: str | None, **more: object) -> tuple[str, dict]:
    number = f"{abs(hash(session)) % 10**12:012}"
    return "session_batches", {
        "sessionId": session,
        "batchId": f"00000000-0000-4000-8000-{number}",
        "startedAt": started,
        **more,
    }


# Each record with the time it was received; those named `in…` belong to 2 March.
RECORDS = [
    (event("in, at the first instant", "2026-03-02T00:00:00Z"), "2026-03-02T00:00:01Z"),
    (event("in, at the last", "2026-03-02T23:59:59.999Z"), "2026-03-03T00:00:01Z"),
    (event("out, an instant later", "2026-03-03T00:00:00Z"), "2026-03-03T00:00:01Z"),
    (event("out, a second before", "2026-03-01T23:59:59Z"), "2026-03-01T23:59:59.5Z"),
    (event("in, told three weeks late", "2026-03-02T12:00:00Z"), "2026-03-23T00:00:00Z"),
    (event("in, only received then", "2026-01-02T12:00:00Z"), "2026-03-02T12:00:00Z"),
    (event("in, by a clock half a day fast", "2026-03-02T06:00:00Z"), "2026-03-01T18:00:00Z"),
    (("llm_requests", {"modelId": "m", "sessionId": "in, a request", "timestamp": "2026-03-02T12:00:00Z"}),
     "2026-03-09T00:00:00Z"),
    (("identifies", {"userId": "u", "sessionId": "in, a sign-in", "timestamp": "2026-03-02T12:00:00Z"}),
     "2026-03-09T00:00:00Z"),
    (batch("in, over midnight", "2026-03-01T23:50:00Z", pathSequence=["/", "/a"], pathTimings=[0, 660_000]),
     "2026-03-09T00:00:00Z"),
    (batch("in, ends after midnight", "2026-03-01T23:50:00Z", endedAt="2026-03-02T00:01:00Z", pathSequence=["/"],
           pathTimings=[0]), "2026-03-09T00:00:00Z"),
    (batch("out, over before midnight", "2026-03-01T23:50:00Z", pathSequence=["/", "/a"], pathTimings=[0, 500_000]),
     "2026-03-01T23:59:00Z"),
    (batch("in, a server's row", None,
           llmInteractions=[{"model": "m", "tokens": 1, "cost": 0, "timestamp": "2026-03-02T12:00:00Z"}]),
     "2026-03-09T00:00:00Z"),
]  # fmt: skip


def test_the_groups_of_a_day_are_those_with_anything_received_or_done_on_it(fresh_database: Server, tmp_path):
    warehouse = Warehouse(fresh_database, tmp_path)
    for (stream, record), received in RECORDS:
        warehouse.load(stream, [json.dumps(record).encode()])
        warehouse.query(
            f"update raw.{stream} set received_at = %s where session_id = %s returning 1", received, record["sessionId"]
        )
    with contextlib.closing(connect(fresh_database)) as connection:
        day = days_between("2026-03-02", "2026-03-02")
        touch_groups(connection, "prod", load_manifest(), day, timedelta(hours=24))
        listed = connection.execute("select distinct key from ops.touched where kind = 'session_group'").fetchall()
    expected = {f"s:{record['sessionId']}" for (_, record), _ in RECORDS if record["sessionId"].startswith("in")}
    assert {key for (key,) in listed} == expected


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("", "2026-03-08", "Replay which days"),
        ("2026-03-01", None, "Replay which days"),
        ("2026-03-08", "2026-03-01", "comes after the last"),
        ("yesterday", "2026-03-01", "'yesterday' is no day"),
        ("2026-02-29", "2026-03-01", "'2026-02-29' is no day"),
        ("2026-03-01", "9999-12-31", "9999-12-31 is out of range"),
    ],
)
def test_days_that_make_no_sense_are_refused_with_what_to_say(first, last, message):
    with pytest.raises(TidemarkError, match=f"{message}.*make replay FROM=2026-03-01 TO=2026-03-08"):
        days_between(first, last)


def test_a_wrong_day_is_one_line_on_standard_error(fresh_database, tmp_path):
    done = replay(Warehouse(fresh_database, tmp_path), "2026-03-08", "2026-03-01")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: The first day, 2026-03-08, comes after the last")
    assert done.stderr.count("\n") == 1


def test_days_before_the_horizon_are_closed(connection):
    connection.execute("update ops.horizon set horizon = '2026-03-05 00:00:00+00'")
    check_open(connection, Days(DAYS.first, DAYS.last))
    check_open(connection, days_between("2026-03-05", "2026-03-05"))
    for first, last in (("2026-03-01", "2026-03-02"), ("2026-03-04", "2026-03-09")):
        with pytest.raises(TidemarkError, match=r"before the horizon \(2026-03-05 00:00:00\+00\) are closed"):
            check_open(connection, days_between(first, last))
