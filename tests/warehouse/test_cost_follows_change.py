"""Law 4: a refresh reads what new loads touch, not what history holds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import date

import pytest
from psycopg import sql

from ingest.connection import connect
from orchestration.purge import purge
from orchestration.refresh import dbt_arguments, refreshing
from tests.warehouse.conftest import Warehouse, assert_same

# The sample ends with March.
RECEIVED = ("2026-04-02 08:00+00", "2026-04-12 23:59+00", "2026-05-30 00:00+00")


def receive_at(warehouse: Warehouse, received_at: str) -> None:
    """What is loaded from now on was received at that time."""
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        default = sql.SQL("alter table raw.loads alter started_at set default {}::timestamptz")
        connection.execute(default.format(received_at))
        connection.execute("select ops.make_partitions(0, %s::date)", [received_at[:10]])


def event(session: str, at: str, **more: object) -> bytes:
    record = {"eventId": f"{session} {at}", "eventName": "clicked", "sessionId": session, "timestamp": at}
    return json.dumps(record | more).encode()


@contextlib.contextmanager
def locked(warehouse: Warehouse, days: list[str], tables: str = "", at_least: int = 9) -> Iterator[None]:
    """Nobody can plan or read a query on the partitions of these days; who tries fails after five seconds. Of the
    tables whose name fits, so many partitions a day at least."""
    with contextlib.closing(connect(warehouse.server)) as connection:
        name = sql.Identifier(warehouse.server.database)
        connection.execute(sql.SQL("alter database {} set lock_timeout = '5s'").format(name))
        connection.commit()
        partitions = connection.execute(
            "select oid::regclass::text from pg_class where relkind = 'r' and relispartition and relname ~ %s",
            [f"^{tables}.*({'|'.join(day.replace('-', '') for day in days)})"],
        ).fetchall()
        assert len(partitions) >= at_least * len(days)
        for (partition,) in partitions:
            connection.execute(f"lock table {partition} in access exclusive mode")
        yield


@pytest.fixture(scope="module")
def three_days(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """Sessions of visitors received on three days, built. Copied, never changed."""
    built = make_warehouse()
    for number, received_at in enumerate(RECEIVED):
        receive_at(built, received_at)
        at = f"2026-03-0{number + 1}T10:00:00Z"
        built.load("events", [event(f"s{number}", at, anonymousId=f"a{number}")])
        built.load("llm_requests", [json.dumps({"model": "m", "sessionId": f"s{number}", "timestamp": at}).encode()])
        built.refresh()
    return built


@pytest.fixture
def warehouse(three_days: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]) -> Warehouse:
    return copy_warehouse(three_days)


def test_days_that_no_touched_group_was_received_on_are_not_even_planned(warehouse):
    receive_at(warehouse, "2026-06-01 00:00+00")
    late = [event("s2", "2026-03-03T10:05:00Z", anonymousId="a2"), event("s9", "2026-03-04T10:05:00Z")]
    warehouse.load("events", late)
    told = {"userId": "u2", "anonymousId": "a2", "timestamp": "2026-03-20T10:00:00Z"}
    warehouse.load("identifies", [json.dumps(told).encode()])
    with locked(warehouse, ["2026-04-02", "2026-04-12"]):
        run = warehouse.refresh()
    assert run.tests_failed == []
    # the visit of another day that the new event belongs to, and that the identify call says whose it is
    assert warehouse.query(
        "select session_group, event_count, user_id from marts.fct_sessions"
        " where session_date >= '2026-03-03' order by 1"
    ) == [("s:s2", 2, "u2"), ("s:s9", 1, None)]


def test_closing_a_day_plans_no_partition_of_days_its_groups_were_not_received_on(warehouse):
    # requests are asked for by their id on every day: one may have been told again
    with locked(warehouse, ["2026-04-12", "2026-05-30"], tables="(events|session_batches)_", at_least=5):
        done = purge(warehouse.server, date(2026, 3, 2))
    assert (done.closed_visits, done.carried_rows) == (1, 0)


def test_groups_received_on_several_days_are_read_whole(make_warehouse, small_sample):
    """Each stream cut in three by line, each part received on another day, beside all of it received at once."""
    piecewise, at_once = make_warehouse(), make_warehouse()
    for part, received_at in enumerate(RECEIVED):
        receive_at(piecewise, received_at)
        for stream, lines in small_sample.items():
            piecewise.load(stream, lines[part::3])
        piecewise.refresh()
    receive_at(at_once, RECEIVED[-1])
    for stream, lines in small_sample.items():
        at_once.load(stream, lines)
    at_once.refresh()
    assert_same(at_once.contents(), piecewise.contents())


# What a mart may get wrong for a session group, its day and its visitor, and the hourly tests that see it.
PLANTS = """
update marts.fct_sessions set goal_count = goal_count + 1, session_type = 'nonsense', user_id = 'somebody'
where session_group = 's:{session}';
update marts.fct_events set session_key = gen_random_uuid() where session_group = 's:{session}' and event_id ~ ' {day}';
update marts.fct_sessions set started_at = '{day} 10:01+00', ended_at = '{day} 10:02+00'
where session_group = 's:{session}' and started_at = '{day} 13:00+00';
update marts.dim_visitors set total_events = 99 where anonymous_ids = '{{a of {session}}}';
update marts.agg_cost_daily set cost_usd = coalesce(cost_usd, 0) + 1 where cost_date = '{day}';
"""
HOURLY = {
    "touched_sessions_count_their_facts",
    "touched_values_are_accepted",
    "touched_sessions_belong_to_whom_the_aliases_say",
    "touched_facts_have_their_session",
    "touched_sessions_are_split_by_gap_and_cap",
    "touched_visitors_add_up_to_sessions",
    "touched_days_add_up_to_sessions",
    "touched_costs_add_up_to_requests",
}
NIGHTLY = {
    "sessions_count_their_facts",
    "fct_sessions_session_type_accepted",
    "sessions_belong_to_whom_the_aliases_say",
    "every_fact_has_its_session",
    "sessions_are_split_by_gap_and_cap",
    "visitors_add_up_to_sessions",
    "daily_stats_add_up_to_sessions",
    "cost_daily_adds_up_to_requests",
}


def plant(warehouse: Warehouse, session: str, day: str) -> None:
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute(PLANTS.format(session=session, day=day))


def load_two_visits(warehouse: Warehouse, session: str, day: str) -> None:
    """Two visits of one session with an event each, and an LLM request in the first."""
    times = (f"{day}T10:00:00Z", f"{day}T13:00:00Z")
    warehouse.load("events", [event(session, at, anonymousId=f"a of {session}") for at in times])
    request = {"model": "m", "sessionId": session, "anonymousId": f"a of {session}", "timestamp": times[0]}
    warehouse.load("llm_requests", [json.dumps(request).encode()])


def test_hourly_tests_see_what_a_refresh_touched_and_nightly_ones_all_there_is(make_warehouse, monkeypatch):
    from dbt.cli.main import dbtRunner

    warehouse = make_warehouse()
    load_two_visits(warehouse, "old", "2026-03-01")
    assert warehouse.refresh().tests_failed == []
    load_two_visits(warehouse, "new", "2026-03-05")
    for name, value in warehouse.server.environment().items():
        monkeypatch.setenv(name, value)
    parsed = dbtRunner().invoke(["parse", "--quiet", *dbt_arguments("prod")]).result
    runner, options = dbtRunner(manifest=parsed), ["--quiet", *dbt_arguments("prod")]

    def failed(selector: str) -> set[str]:
        results = runner.invoke(["test", "--selector", selector, *options]).result
        return {result.node.name for result in results if result.status == "fail"}

    manifest = parsed.writable_manifest().to_dict(omit_none=False)
    with refreshing(warehouse.server, "prod", manifest) as run:
        monkeypatch.setenv("TIDEMARK_REFRESH_ID", str(run.refresh_id))
        assert runner.invoke(["run", *options]).success
        plant(warehouse, "old", "2026-03-01")
        assert failed("lean_tests") == set()
        assert failed("nightly") >= NIGHTLY
        plant(warehouse, "new", "2026-03-05")
        assert failed("lean_tests") == HOURLY
