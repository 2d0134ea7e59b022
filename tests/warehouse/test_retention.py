"""What is over its age goes, by class, and nothing that is kept longer changes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from ingest.connection import connect
from ingest.errors import TidemarkError
from orchestration import retention as library
from orchestration.refresh import PROJECT_FOLDER
from orchestration.retention import Retention, Step, read_fields, read_policies, retention
from orchestration.seeds import FOLDER as SEEDS
from tests.warehouse.conftest import Warehouse, assert_same, without_server_variables
from tests.warehouse.test_purge import KEPT, kept, rebuild

# What a visit says no more a year later; seeds/retention_fields.csv lists the same.
GONE_FROM_VISITS = [
    "entry_page", "exit_page", "path_sequence", "path_timings_ms", "browser_version", "os_version", "screen_width",
    "screen_height", "city", "triggered_by", "metadata",
]  # fmt: skip
AUDIT = "select to_jsonb(t)::text from marts.fct_audit_events as t"


def set_clock(warehouse: Warehouse, day: str) -> None:
    """What day it is for everything that asks ops.clock() from now on."""
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute(
            psycopg.sql.SQL("alter database {} set tidemark.as_of = {}").format(
                psycopg.sql.Identifier(warehouse.server.database), psycopg.sql.Literal(f"{day}T02:00:00Z")
            )
        )


def what(steps: list[Step]) -> list[tuple[str, str, str, date]]:
    """Steps without their numbers, once each."""
    return sorted({(step.record_class, step.action, step.relation, step.before) for step in steps})


def count(warehouse: Warehouse, relation: str) -> int:
    return warehouse.query(f"select count(*) from {relation}")[0][0]


def on(warehouse: Warehouse, day: str) -> Retention:
    """Retention on a day. A dry run before tells the same and changes nothing; another one after finds nothing."""
    set_clock(warehouse, day)
    logged, raw = count(warehouse, "ops.retention_log"), count(warehouse, "raw.events")
    told = retention(warehouse.server, dry_run=True)
    assert (count(warehouse, "ops.retention_log"), count(warehouse, "raw.events")) == (logged, raw)
    done = retention(warehouse.server)
    assert what(told.steps) == what(done.steps)
    # At most: which rows open visits stand on is found by closing.
    at_most = {step.relation: step.rows for step in told.steps if step.relation.startswith("raw.")}
    for step in done.steps:
        if step.relation.startswith("raw."):
            assert step.rows <= at_most[step.relation], step
    assert count(warehouse, "ops.retention_log") == logged + len(done.steps)
    assert retention(warehouse.server).steps == []
    return done


def actions(done: Retention) -> dict[tuple[str, str], int]:
    """(class, action) → rows."""
    found: dict[tuple[str, str], int] = {}
    for step in done.steps:
        found[step.record_class, step.action] = found.get((step.record_class, step.action), 0) + step.rows
    return found


def test_each_class_goes_at_its_age_and_nothing_kept_longer_changes(received_as_made, copy_warehouse):
    """The sample is of 23 to 31 March 2026, each record received an hour after it was made."""
    warehouse = copy_warehouse(received_as_made)
    before, audit = kept(warehouse), sorted(warehouse.query(AUDIT))
    assert audit
    performance = count(warehouse, "raw.events where retention_class = 'performance' and received_at < '2026-03-29'")
    requests = count(warehouse, "raw.llm_requests")

    # 30 days after 29 March: performance events of days before lose what they measured, and nothing else happens
    done = on(warehouse, "2026-04-28")
    assert performance > 0
    assert actions(done) == {("sessions", "close"): 0, ("performance", "reduce"): performance}
    assert warehouse.query(
        """
        select count(*), count(*) filter (where properties ?| array['value', 'rating', 'delta', 'name'])
        from raw.events where retention_class = 'performance' and received_at < '2026-03-29'
        """
    ) == [(performance, 0)]
    warehouse.refresh()
    assert_same(before, kept(warehouse))
    assert warehouse.query(
        "select count(*) from marts.fct_events where retention_class = 'performance' and properties ? 'value'"
        " and event_date < '2026-03-28'"
    ) == [(0,)]

    # 90 days after 30 March: days before are closed; audit, security and LLM requests stay in raw
    done = on(warehouse, "2026-06-28")
    assert done.horizon == date(2026, 3, 30)
    assert {("sessions", "close"), ("analytics", "drop"), ("session_batches", "drop"), ("performance", "drop")} <= set(
        actions(done)
    )
    assert {name for name, action in actions(done) if action == "drop"} == {
        "analytics", "session_batches", "performance"
    }  # fmt: skip
    assert count(warehouse, "raw.llm_requests") == requests
    warehouse.refresh()
    assert_same(before, kept(warehouse))
    assert sorted(warehouse.query(AUDIT)) == audit

    # 1 year and 400 days later: visits are bare, audit events and LLM requests gone, security events still there
    done = on(warehouse, "2027-05-10")
    assert {("sessions", "reduce"), ("llm_requests", "drop")} <= set(actions(done))
    assert ("security", "drop") not in actions(done)
    assert count(warehouse, "raw.llm_requests where not carried") == 0
    warehouse.refresh()
    assert_same(bare(before), bare(kept(warehouse)))
    rebuild(warehouse)
    assert_same(bare(before), bare(kept(warehouse)))
    assert warehouse.query(
        "select count(*) from marts.fct_sessions where path_sequence <> '{}' or entry_page is not null or city <> ''"
    ) == [(0,)]
    assert sorted(warehouse.query(AUDIT)) == [row for row in audit if '"retention_class": "security"' in row[0]]

    # and after two years those too; what is to stay for ever stays
    ledger = count(warehouse, "raw.loads")
    done = on(warehouse, "2028-06-01")
    assert {("security", "drop"), ("security", "delete")} <= set(actions(done))
    assert count(warehouse, "raw.events") == count(warehouse, "raw.rejects") == 0
    assert count(warehouse, "raw.loads") == ledger
    run = warehouse.refresh()
    assert run.tests_failed == []
    assert_same(bare(before), bare(kept(warehouse)))
    assert warehouse.query(AUDIT) == []


def bare(contents: dict[str, list[str]]) -> dict[str, list[str]]:
    """Rows without what visits and requests no more say when they are over their age, and without audit events."""
    gone = {"marts.fct_sessions": GONE_FROM_VISITS, "marts.fct_llm_requests": ["feedback"]}
    return {
        relation: sorted(
            json.dumps({key: value for key, value in json.loads(row).items() if key not in gone.get(relation, ())})
            for row in rows
        )
        for relation, rows in contents.items()
        if relation != "marts.fct_audit_events"
    }


@contextlib.contextmanager
def started(warehouse: Warehouse) -> Iterator[subprocess.Popen]:
    """`python -m orchestration retention` in a process that is killed at the end, with its connections."""
    running = subprocess.Popen(
        [sys.executable, "-m", "orchestration", "retention"],
        env=without_server_variables() | warehouse.server.environment(),
        cwd=PROJECT_FOLDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        warehouse.query(
            "select pg_terminate_backend(pid, 60000) from pg_stat_activity"
            " where application_name = 'tidemark retention' and datname = current_database()"
        )


def kill_where_it_waits_for(warehouse: Warehouse, relation: str, mode: str) -> None:
    """Kill a run of retention, and its connection, when it wants to change a relation."""
    with contextlib.closing(connect(warehouse.server)) as blocking:
        blocking.execute(f"lock table {relation} in {mode} mode")
        with started(warehouse) as running:
            waiting = "select from pg_locks where not granted and locktype = 'relation' and relation = %s::regclass"
            deadline = time.monotonic() + 120
            while not warehouse.query(waiting, relation):
                assert running.poll() is None, f"it ended before it came to {relation}"
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_killed_anywhere_it_is_finished_by_the_next_run(received_as_made, copy_warehouse):
    killed, whole = copy_warehouse(received_as_made), copy_warehouse(received_as_made)
    for warehouse in (killed, whole):
        set_clock(warehouse, "2027-05-10")
    before = bare(kept(killed))
    retention(whole.server)
    # while days are closed, between two partitions, between two kinds of what is left
    for relation, mode in (
        ("history.closed_visits", "share"),
        ("raw.events_analytics_20260327", "access share"),
        ("raw.session_batches_20260326", "access share"),
        ("raw.rejects", "share"),
    ):
        kill_where_it_waits_for(killed, relation, mode)
    retention(killed.server)
    for relation in ("raw.events", "raw.session_batches", "raw.llm_requests", "raw.rejects", "history.closed_visits"):
        rows = f"select to_jsonb(t)::text from {relation} as t"
        assert sorted(killed.query(rows)) == sorted(whole.query(rows)), relation
    killed.refresh()
    assert_same(before, bare(kept(killed)))


def test_what_others_keep_locked_is_left_and_named_and_all_else_is_done(received_as_made, copy_warehouse, monkeypatch):
    warehouse = copy_warehouse(received_as_made)
    set_clock(warehouse, "2026-06-28")
    monkeypatch.setattr(library, "LOCK_TIMEOUT", "100ms")
    with contextlib.closing(connect(warehouse.server)) as reading:
        reading.execute("select count(*) from raw.events_analytics_20260324")
        with pytest.raises(
            TidemarkError, match=r"1 partitions are left, .* \(events_analytics_20260324\): run retention"
        ):
            retention(warehouse.server)
    left = "select relname from pg_class where relname ~ '^(events_analytics|session_batches)_2026032[3-8]$' order by 1"
    assert warehouse.query(left) == [("events_analytics_20260324",)]
    assert [step.relation for step in retention(warehouse.server).steps] == ["raw.events_analytics_20260324"]
    assert warehouse.query(left) == []


def test_it_is_refused_while_marts_are_behind(received_as_made, copy_warehouse):
    warehouse = copy_warehouse(received_as_made)
    set_clock(warehouse, "2026-06-28")
    warehouse.load("events", [b'{"eventName": "late", "anonymousId": "a", "timestamp": "2026-03-24T10:00:00Z"}'])
    with pytest.raises(TidemarkError, match="tell of days before 2026-03-30: run `make refresh` first"):
        retention(warehouse.server)
    assert count(warehouse, "ops.retention_log") == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("audit,365,drop", "audti,365,drop", r"retention_policies\.csv, line 3: unknown class 'audti'; use one of ana"),
        ("audit,365,drop", "audit,365,shred", r"line 3: audit cannot go by 'shred'; use drop or stay"),
        ("audit,365,drop", "audit,-1,drop", r"line 3: keep_days is '-1'; use a whole number"),
        ("audit,365,drop", "audit,1e3,drop", r"line 3: keep_days is '1e3'"),
        ("audit,365,drop", "audit,,drop", r"line 3: audit: what stays has no keep_days, and what goes has one"),
        ("audit,365,drop", "audit,365", r"line 3: the line has not as many fields"),
        ("audit,365,drop", "costs,,stay", r"line 9: costs has a line already"),
        ("audit,365,drop\n", "", r"names no policy for audit: add a line"),
        ("costs,,stay", "costs,365,delete", r"line 9: costs cannot go by 'delete'; use stay"),
        ("sessions,365,reduce", "sessions,89,reduce", r"sessions are kept 89 days, but the days they are made of 90"),
        ("record_class,", "class,", r"line 1: the columns must be record_class,keep_days,goes_by"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str):
    seeds = tmp_path / "seeds"
    shutil.copytree(SEEDS, seeds)
    policies = seeds / "retention_policies.csv"
    text = policies.read_text()
    assert text.count(old) == 1
    policies.write_text(text.replace(old, new))
    with pytest.raises(TidemarkError, match=message):
        read_policies(seeds)


def test_a_field_of_an_unknown_class_is_refused_with_its_line(tmp_path: Path):
    shutil.copy(SEEDS / "retention_fields.csv", tmp_path)
    with (tmp_path / "retention_fields.csv").open("a") as file:
        file.write("audit,properties,who,goes\n")
    lines = (SEEDS / "retention_fields.csv").read_text().count("\n")
    with pytest.raises(TidemarkError, match=rf"retention_fields\.csv, line {lines + 1}: nothing is reduced by audit"):
        read_fields(tmp_path)


def test_the_policies_are_those_agreed():
    agreed = {
        "analytics": 90, "audit": 365, "security": 730, "performance": 30, "session_batches": 90, "rejects": 90,
        "sessions": 365, "llm_requests": 400, "costs": None, "identity_edges": None, "loads": None,
        "daily_stats": None, "visitors": None,
    }  # fmt: skip
    found = {name: policy.keep_days for name, policy in read_policies().items()}
    assert agreed.items() <= found.items()
    goes = read_fields()["sessions", "visit", "goes"]
    assert sorted([*goes, "metadata"]) == sorted(GONE_FROM_VISITS)
    assert "marts.fct_sessions" in KEPT
    assert os.path.exists(SEEDS / "retention_policies.csv")
