"""Law 4: a refresh reads what new loads touch, not what history holds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from ingest.connection import connect
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
def locked(warehouse: Warehouse, days: list[str]) -> Iterator[None]:
    """Nobody can plan or read a query on the partitions of these days; who tries fails after five seconds."""
    with contextlib.closing(connect(warehouse.server)) as connection:
        name = sql.Identifier(warehouse.server.database)
        connection.execute(sql.SQL("alter database {} set lock_timeout = '5s'").format(name))
        connection.commit()
        partitions = connection.execute(
            "select oid::regclass::text from pg_class where relkind = 'r' and relispartition and relname ~ %s",
            ["|".join(day.replace("-", "") for day in days)],
        ).fetchall()
        assert len(partitions) >= 9 * len(days)
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
