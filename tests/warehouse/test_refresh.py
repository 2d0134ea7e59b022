"""What a refresh promises when it fails, is killed, meets another, or finds a model changed."""

from __future__ import annotations

import contextlib
import gc
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import sql

from ingest.connection import connect
from ingest.errors import TidemarkError
from orchestration.refresh import PROJECT_FOLDER, dbt_arguments, project_parsed, take_lock
from tests.warehouse.conftest import Warehouse, assert_same, copied_project, without_server_variables


def event(
    number: int, *, user: str | None = None, anonymous: str | None = None, at: str, name: str = "clicked"
) -> bytes:
    record = {"eventId": f"e{number}", "eventName": name, "funnelId": "shop", "timestamp": at}
    return json.dumps(record | {"userId": user, "anonymousId": anonymous}).encode()


FIRST = [event(1, anonymous="a1", at="2026-03-01T10:00:00Z")]
SECOND = [event(2, anonymous="a1", at="2026-03-03T10:00:00Z")]
LATE = [
    event(3, user="u1", anonymous="a1", at="2026-03-20T10:00:00Z"),
    event(4, anonymous="a9", at="2026-03-03T10:05:00Z"),
]


@pytest.fixture(scope="module")
def two_visits(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """Two visits of one anonymous visitor on two days, built. Copied, never changed."""
    built = make_warehouse()
    built.load("events", FIRST)
    built.load("events", SECOND)
    built.refresh()
    return built


@pytest.fixture
def warehouse(two_visits: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]) -> Warehouse:
    """Two visits of one anonymous visitor on two days, built."""
    return copy_warehouse(two_visits)


@pytest.fixture(scope="module")
def with_late_events(make_warehouse: Callable[[], Warehouse]) -> dict[str, list[str]]:
    """What the marts hold when the late events were there from the start."""
    built = make_warehouse()
    built.load("events", [*FIRST, *SECOND, *LATE])
    built.refresh()
    return built.contents()


@pytest.fixture
def broken_model(project: Path) -> Callable[[], None]:
    """Add a table that no database can build, until `mend` is called."""
    path = project / "models" / "intermediate" / "int_broken_on_purpose.sql"
    path.write_text(
        "{{ config(materialized='table') }}\nselect 1 / (count(*) - count(*)) as x from {{ ref('int_visits') }}\n"
    )
    return path.unlink


def mark(warehouse: Warehouse) -> int:
    return warehouse.query("select completed_seq from ops.bounds where target = 'prod'")[0][0]


def test_a_late_event_moves_a_visit_and_the_days_it_leaves(warehouse):
    # The 3 March visit gets an earlier start, before midnight: its day changes, and 3 March is left empty.
    warehouse.load("events", [event(3, anonymous="a1", at="2026-03-03T09:45:00Z")])
    warehouse.load("events", [event(4, anonymous="a1", at="2026-03-03T09:20:00Z")])
    warehouse.load(
        "events",
        [event(10 + step, anonymous="a1", at=f"2026-03-{2 + hour // 24:02}T{hour % 24:02}:{minute:02}:00Z")
         for step, (hour, minute) in enumerate(divmod(23 * 60 + 50 + 25 * k, 60) for k in range(24))],
    )  # fmt: skip
    warehouse.refresh()
    days = warehouse.query("select stat_date::text, total_sessions, new_visitors from marts.agg_daily_stats order by 1")
    assert days == [("2026-03-01", 1, 1), ("2026-03-02", 1, 0)]


def test_a_sign_in_moves_every_earlier_visit_to_the_user(warehouse):
    before = warehouse.query("select distinct visitor_id from marts.fct_sessions")
    warehouse.load("events", [event(3, user="u1", anonymous="a1", at="2026-03-20T10:00:00Z")])
    run = warehouse.refresh()
    assert run.rebuilt == []
    visitors = warehouse.query("select visitor_id, user_id, total_sessions from marts.dim_visitors")
    assert [row[1:] for row in visitors] == [("u1", 3)]
    assert visitors[0][0] != before[0][0]
    assert warehouse.query("select distinct user_id from marts.fct_events") == [("u1",)]
    # One person: new on the first day only.
    assert warehouse.query("select sum(new_visitors) from marts.agg_daily_stats") == [(1,)]


def test_an_identify_call_weeks_later_moves_every_earlier_visit_to_the_user(warehouse):
    """Only the stream of identifies tells who it was; telling it makes no visit."""
    visits = warehouse.query("select count(*) from marts.fct_sessions")
    told = {"userId": "u1", "anonymousId": "a1", "timestamp": "2026-03-20T10:00:00Z"}
    warehouse.load("identifies", [json.dumps(told).encode()])
    run = warehouse.refresh()
    assert run.rebuilt == []
    assert warehouse.query("select count(*) from marts.fct_sessions") == visits
    assert warehouse.query("select user_id, total_sessions from marts.dim_visitors") == [("u1", visits[0][0])]
    assert warehouse.query("select anonymous_id, evidence from marts.visitor_aliases") == [("a1", "identify call")]
    assert warehouse.query("select distinct user_id from marts.fct_events") == [("u1",)]


def test_users_and_workspaces_are_told_by_visits_and_by_rows_of_their_own(warehouse):
    def told(day: int, **who: str) -> bytes:
        traits = {"team": f"team of the {day}", "email": "Ann@Example.com", "firstName": "Ann"}
        return json.dumps({"userId": "u1", "timestamp": f"2026-03-{day:02}T10:00:00Z", "traits": traits} | who).encode()

    def version(day: int, plan: str) -> bytes:
        record = {"id": "w1", "updated_at": f"2026-03-{day:02}T10:00:00Z", "industry": "law", "plan": plan}
        return json.dumps(record).encode()

    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        database = sql.Identifier(warehouse.server.database)
        connection.execute(sql.SQL("alter database {} set tidemark.hash_key = 'secret'").format(database))
    visit = {"eventId": "e3", "eventName": "clicked", "userId": "u1", "anonymousId": "a1", "workspaceId": "w1"}
    warehouse.load("events", [json.dumps(visit | {"timestamp": "2026-03-10T10:00:00Z"}).encode()])
    warehouse.load("identifies", [told(11, name="Ann Example"), told(12), told(3)])
    warehouse.load("workspaces", [version(11, "free"), version(12, "pro"), version(3, "team")])
    run = warehouse.refresh()
    assert run.rebuilt == []
    assert warehouse.query("select user_id, traits, email_hash, name, total_sessions from marts.dim_users") == [
        ("u1", {"team": "team of the 12"}, hmac.new(b"secret", b"ann@example.com", "sha256").hexdigest(), None, 3)
    ]
    assert warehouse.query(
        "select workspace_id, plan, industry, members_seen, members_active_30_days, size_band, total_sessions"
        " from marts.dim_workspaces"
    ) == [("w1", "pro", "law", 1, 1, "small", 1)]
    for relation, rows in warehouse.contents().items():
        assert not [row for row in rows if "ann" in row.lower()], relation


def test_an_alias_belongs_to_the_last_sign_in_before_or_else_the_first(warehouse):
    warehouse.load(
        "events",
        [
            event(3, user="u1", anonymous="a1", at="2026-03-02T10:00:00Z"),
            event(4, user="u2", anonymous="a1", at="2026-03-10T10:00:00Z"),
            event(5, anonymous="a1", at="2026-03-11T10:00:00Z"),
        ],
    )
    warehouse.refresh()
    users = warehouse.query("select started_at::date::text, user_id from marts.fct_sessions order by 1")
    assert users == [
        ("2026-03-01", "u1"), ("2026-03-02", "u1"), ("2026-03-03", "u1"), ("2026-03-10", "u2"), ("2026-03-11", "u2"),
    ]  # fmt: skip


def batch(
    number: int, session: str, user: str | None, start: str, path: list[str], timings: list[int], **more
) -> bytes:
    identity = {"sessionId": session, "batchId": f"00000000-0000-4000-8000-{number:012}", "batchSeq": 0, "userId": user}
    told = {"startedAt": f"2026-03-02T{start}Z", "pathSequence": path, "pathTimings": timings}
    return json.dumps(identity | told | more).encode()


def test_evidence_that_comes_after_a_merge_or_a_rating_reaches_what_they_touched(make_warehouse):
    """An alias changes while the visits stand under another group, or the rating in a group of its own."""
    anonymous = "anon-00000000-0000-4000-8000-000000000009"
    request = {"requestId": "r1", "modelId": "m", "inputTokens": 1, "outputTokens": 1}
    first = {
        "session_batches": [
            batch(1, anonymous, None, "09:00:00", ["/"], [0], metadata={"plan": "free"}),
            batch(2, anonymous, None, "11:00:00", ["/"], [0], endedAt="2026-03-02T11:01:00Z"),
            batch(2, "j1", "u1", "11:00:00", ["/", "/a"], [0, 300000], endedAt="2026-03-02T11:06:00Z"),
        ],
        "llm_requests": [
            json.dumps(request | {"anonymousId": "a5", "timestamp": "2026-03-02T12:00:00Z"}).encode(),
            json.dumps(
                {"requestId": "r1", "rating": 1, "type": "feedback", "timestamp": "2026-03-02T12:01:00Z"}
            ).encode(),
        ],
    }
    signed_in_before = json.loads(event(1, user="u2", anonymous=anonymous, at="2026-03-02T08:00:00Z"))
    second = {
        "events": [
            json.dumps(signed_in_before | {"sessionId": "elsewhere"}).encode(),
            event(2, user="u5", anonymous="a5", at="2026-03-02T20:00:00Z"),
        ]
    }
    piecewise, at_once = make_warehouse(), make_warehouse()
    for loads in (first, second):
        for stream, lines in loads.items():
            piecewise.load(stream, lines)
            at_once.load(stream, lines)
        piecewise.refresh()
    at_once.refresh()
    # The visit of 9:00, before the sign-in of 11:00, belongs to the user of 8:00 since that is known.
    assert ("u2",) in piecewise.query("select user_id from marts.fct_sessions where session_date = '2026-03-02'")
    assert piecewise.query("select user_id, rating from marts.fct_llm_requests") == [("u5", 1)]
    assert_same(at_once.contents(), piecewise.contents())


def test_a_refresh_leaves_the_environment_of_its_process_as_it_was(warehouse, monkeypatch):
    from orchestration.refresh import refresh

    monkeypatch.setenv("TIDEMARK_HASH_KEY", "a key that is long enough")
    monkeypatch.setenv("PGAPPNAME", "ours")
    before = dict(os.environ)
    refresh(warehouse.server, quiet=True)
    assert {name: told for name, told in os.environ.items() if name.startswith(("PG", "TIDEMARK_"))} == {
        name: told for name, told in before.items() if name.startswith(("PG", "TIDEMARK_"))
    }


def test_a_broken_seed_is_named_by_its_line_before_anything_is_touched(warehouse, tmp_path):
    refreshes = warehouse.query("select * from ops.refreshes")
    with copied_project(tmp_path / "project") as project:
        budgets = project / "seeds/budgets.csv"
        lines = budgets.read_text().splitlines()
        budgets.write_text("\n".join([*lines, "chat,app,shop,month,12 dollars,2026-01-01,"]) + "\n")
        with pytest.raises(TidemarkError, match=rf"^seeds/budgets\.csv, line {len(lines) + 1}: amount_usd is \"12 d"):
            warehouse.refresh()
    assert warehouse.query("select * from ops.refreshes") == refreshes


def test_a_failed_model_keeps_mark_and_work_list_and_a_retry_finishes(warehouse, broken_model):
    expected = mark(warehouse)
    warehouse.load("events", [event(3, anonymous="a2", at="2026-03-03T11:00:00Z")])
    with pytest.raises(TidemarkError, match="int_broken_on_purpose"):
        warehouse.refresh()
    assert mark(warehouse) == expected
    assert warehouse.query("select count(*) from ops.touched where kind = 'session_group'")[0][0] > 0
    assert warehouse.query(
        "select failed_at is not null, error from ops.refreshes order by refresh_id desc limit 1"
    ) == [(True, "failed: int_broken_on_purpose")]
    broken_model()
    warehouse.refresh()
    assert mark(warehouse) == expected + 1
    assert warehouse.query("select count(*) from ops.touched") == [(0,)]
    assert warehouse.query("select count(*) from marts.fct_sessions") == [(3,)]


def test_a_model_that_is_new_is_built_whole_without_disturbing_the_rest(project, warehouse):
    (project / "models" / "intermediate" / "int_added_by_a_test.sql").write_text(
        "{{ config(materialized='incremental', incremental_strategy='touched',"
        " meta={'touched': {'session_group': ['session_group']}}) }}\n"
        "select session_group, started_at from {{ ref('int_visits') }} where {{ where_touched('session_group') }}\n"
    )
    warehouse.load("events", [event(3, anonymous="a2", at="2026-03-03T11:00:00Z")])
    run = warehouse.refresh()
    assert run.rebuilt == ["int_added_by_a_test"]
    assert warehouse.query("select count(*) from intermediate.int_added_by_a_test") == [(3,)]
    assert warehouse.refresh().rebuilt == []


def test_a_load_that_commits_in_the_middle_is_seen_by_the_next_refresh_only(warehouse):
    warehouse.load("events", [event(3, anonymous="a2", at="2026-03-03T11:00:00Z")])
    warehouse.query("update ops.bounds set to_seq = completed_seq where target = 'prod' returning 1")
    assert warehouse.query("select count(*) from staging.stg_events") == [(2,)]
    warehouse.refresh()
    assert warehouse.query("select count(*) from staging.stg_events") == [(3,)]


def test_two_refreshes_at_once_are_refused_with_who_runs(warehouse):
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as other:
        other.execute("select pg_advisory_lock(hashtext('tidemark.refresh'), hashtext('prod'))")
        with pytest.raises(TidemarkError, match=r"Another refresh of prod is running .process \d+ on"):
            warehouse.refresh()
        # dbt by hand asks the same lock
        assert dbt(warehouse, "run", "--select", "stg_events").returncode != 0


def test_the_lock_of_who_was_killed_just_now_is_waited_for(warehouse):
    take = "select pg_advisory_lock(hashtext('tidemark.refresh'), hashtext('prod'))"
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as killed:
        killed.execute(take)
        ends = threading.Timer(1, killed.close)
        ends.start()
        with contextlib.closing(connect(warehouse.server, autocommit=True)) as next_one:
            take_lock(next_one, "prod")
            assert killed.closed
            held = "select count(*) from pg_locks where locktype = 'advisory' and granted and pid = %s"
            assert warehouse.query(held, next_one.info.backend_pid) == [(1,)]


def dbt(warehouse: Warehouse, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "dbt.cli.main",
            *arguments,
            "--project-dir",
            PROJECT_FOLDER,
            "--profiles-dir",
            PROJECT_FOLDER,
        ],
        env=without_server_variables() | warehouse.server.environment(),
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_dbt_by_hand_builds_to_the_mark_and_never_moves_it(warehouse):
    expected = mark(warehouse)
    warehouse.load("events", [event(3, anonymous="a2", at="2026-03-03T11:00:00Z")])
    done = dbt(warehouse, "run", "--full-refresh", "--select", "int_visits")
    assert done.returncode == 0, done.stdout
    assert mark(warehouse) == expected
    assert warehouse.query("select count(*) from intermediate.int_visits") == [(2,)]


def test_tests_by_hand_leave_nothing_to_be_built_anew(warehouse):
    stale = "select count(*) from ops.model_state where not incremental"
    known = warehouse.query(stale)
    assert known > [(100,)]
    done = dbt(warehouse, "test", "--select", "fct_sessions")
    assert done.returncode == 0, done.stdout
    assert warehouse.query(stale) == known
    done = dbt(warehouse, "run", "--select", "stg_events")
    assert done.returncode == 0, done.stdout
    assert warehouse.query(stale) == [(0,)]


def test_a_dev_build_stands_beside_production_with_its_own_mark(warehouse, monkeypatch):
    from orchestration.refresh import refresh

    before = warehouse.contents()
    warehouse.load("events", [event(3, anonymous="a2", at="2026-03-03T11:00:00Z")])
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    run = refresh(warehouse.server, "dev", quiet=True)
    prefix = run.target
    assert prefix.startswith("dev_")
    assert warehouse.query(f'select count(*) from "{prefix}_marts".fct_sessions') == [(3,)]
    assert_same(before, warehouse.contents())
    marks = dict(warehouse.query("select target, completed_seq from ops.bounds"))
    assert marks[prefix] == marks["prod"] + 1


@pytest.mark.parametrize(
    "seconds", [3.5, *(pytest.param(seconds, marks=pytest.mark.long) for seconds in (1.5, 5.0, 7.0))]
)
def test_a_refresh_killed_at_any_moment_is_finished_by_the_next(warehouse, with_late_events, seconds):
    warehouse.load("events", LATE)
    running = subprocess.Popen(
        [sys.executable, "-m", "orchestration", "refresh", "--no-inbox", "--quiet"],
        env=without_server_variables()
        | warehouse.server.environment()
        | {"TIDEMARK_AS_OF": "2026-04-01T00:00:00+00:00"},
        cwd=PROJECT_FOLDER,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    running.send_signal(signal.SIGKILL)
    running.wait()
    deadline = time.monotonic() + 20
    while warehouse.query("select ops.refresh_is_running('prod')")[0][0] and time.monotonic() < deadline:
        time.sleep(0.1)
    warehouse.refresh()
    assert_same(with_late_events, warehouse.contents())


def test_status_tells_lag_lock_and_a_refresh_that_died(warehouse):
    from orchestration.status import status

    warehouse.load("events", [event(3, anonymous="a2", at="2026-03-03T11:00:00Z")])
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute(
            """
            insert into ops.refreshes (target, from_seq, to_seq, as_of, host, pid, backend_pid)
            values ('prod', 2, 3, now(), 'elsewhere', 1, 1)
            """
        )
        found = status(connection)
    assert [(row["target"], row["unseen_loads"], row["unseen_rows"], row["is_running"]) for row in found["marks"]] == [
        ("prod", 1, 1, False)
    ]
    assert [row["state"] for row in found["refreshes"]] == ["died", "complete"]


def test_the_collector_skips_a_parsed_project_and_is_then_as_it_was(tmp_path):
    with project_parsed([*dbt_arguments("prod"), "--no-write-json", "--quiet"]) as (_, manifest):
        assert "model.tidemark.fct_sessions" in manifest["nodes"]
        assert gc.isenabled()
        assert gc.get_freeze_count() > 100_000
    assert gc.get_freeze_count() == 0
    nowhere = ["--project-dir", str(tmp_path), "--profiles-dir", str(tmp_path), "--quiet"]
    with pytest.raises(TidemarkError, match="does not parse"), project_parsed(nowhere):
        pass
    assert (gc.isenabled(), gc.get_freeze_count()) == (True, 0)
