"""Staging leaves out what was done between opting out and in; its filter spares a look into the list and no more."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest

from ingest.connection import Server, connect
from tests.warehouse.conftest import Warehouse

# Every id of the list is let through; a filter has a power of two of bits, of which at most one in eight is set.
BROKEN = """
select count(*)
from ops.opt_out_filter
left join ops.opt_outs on get_bit(bits, hashtextextended(subject_id, 0) & (8 * octet_length(bits) - 1)) = 0
where
    subject_id is not null
    or bit_count(bits) * 8 > 8 * octet_length(bits)
    or bit_count(octet_length(bits)::bit(32)) <> 1
"""
ADD = """
insert into ops.opt_outs
select unnest(array['user', 'anonymous']), %s || number, '2026-03-02 10:00+00', 'infinity'
from generate_series(1, %s) as number
"""

OUT, BACK = "2026-03-02 10:00+00", "2026-03-02 12:00+00"
CHOICES = [("user", "u1", OUT, BACK), ("anonymous", "a1", OUT, "infinity"), ("session", "s1", OUT, "infinity")]
EVENTS = {
    "before": {"userId": "u1", "timestamp": "2026-03-02T09:59:59Z"},
    "at once": {"userId": "u1", "timestamp": "2026-03-02T10:00:00Z"},
    "between": {"userId": "u1", "anonymousId": "a2", "timestamp": "2026-03-02T11:00:00Z"},
    "back": {"userId": "u1", "timestamp": "2026-03-02T12:00:00Z"},
    "device": {"anonymousId": "a1", "timestamp": "2026-03-02T12:00:00Z"},
    "session": {"sessionId": "s1", "timestamp": "2026-03-02T12:00:00Z"},
    "another kind": {"anonymousId": "u1", "timestamp": "2026-03-02T11:00:00Z"},
    "nobody": {"sessionId": "s2", "timestamp": "2026-03-02T11:00:00Z"},
}
SHOWN = {"before", "back", "another kind", "nobody"}
# Session: when it began, minutes until its last page. One that tells of a time to be left out is left out whole.
BATCHES = {"s3": ("09:30", 29), "s4": ("09:30", 30), "s5": ("11:59", 31), "s6": ("12:00", 30)}


@pytest.fixture(scope="module")
def built(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    warehouse = make_warehouse()
    warehouse.load(
        "events", [json.dumps({"eventId": name, "eventName": "x"} | told).encode() for name, told in EVENTS.items()]
    )
    batches = [
        {"sessionId": session, "userId": "u1", "startedAt": f"2026-03-02T{start}:00Z", "pathSequence": ["/", "/b"]}
        | {"batchId": str(uuid.UUID(int=number)), "batchSeq": 0, "pathTimings": [0, minutes * 60_000]}
        for number, (session, (start, minutes)) in enumerate(BATCHES.items())
    ]
    warehouse.load("session_batches", [json.dumps(batch).encode() for batch in batches])
    warehouse.refresh()
    return warehouse


@pytest.fixture
def asked(built: Warehouse) -> Iterator[psycopg.Connection]:
    """A connection on which the three have opted out; taken back when the test ends."""
    with connect(built.server) as connection:
        connection.cursor().executemany("insert into ops.opt_outs values (%s, %s, %s, %s)", CHOICES)
        yield connection
        connection.rollback()


def shown(connection: psycopg.Connection) -> set[str]:
    return {name for (name,) in connection.execute("select event_id from staging.stg_events")}


def test_what_is_done_between_opting_out_and_in_reaches_no_model(asked):
    assert shown(asked) == SHOWN


def test_a_snapshot_of_any_time_between_is_left_out_whole(asked):
    sessions = asked.execute("select session_id from staging.stg_session_batches order by 1").fetchall()
    assert sessions == [("s3",), ("s6",)]


def test_only_of_whom_the_filter_lets_through_is_the_list_asked(asked):
    asked.execute("update ops.opt_out_filter set bits = decode(repeat('00', 128), 'hex')")
    assert shown(asked) == EVENTS.keys()
    asked.execute("update ops.opt_out_filter set bits = decode(repeat('ff', 4096), 'hex')")
    assert shown(asked) == SHOWN


def test_a_filter_that_says_nothing_hides_nobody_who_opted_out(asked):
    asked.execute("update ops.opt_out_filter set bits = decode(repeat('00', 128), 'hex'), probe = probe + 1")
    assert shown(asked) == SHOWN
    # the next choice makes it anew
    asked.execute("insert into ops.opt_outs values ('user', 'u9', now(), 'infinity')")
    assert asked.execute("select probe = hashtextextended('', 0) from ops.opt_out_filter").fetchone() == (True,)
    assert asked.execute(BROKEN).fetchone() == (0,)
    asked.execute("delete from ops.opt_out_filter")
    assert shown(asked) == SHOWN


@pytest.mark.parametrize("model", ["events", "llm_requests", "session_batches", "identifies", "costs"])
def test_streams_may_be_read_in_parallel(built, model):
    with connect(built.server) as connection:
        for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            connection.execute(f"set {setting} = 0")
        plan = connection.execute(f"explain select * from staging.stg_{model}").fetchall()
    assert any("Gather" in line for (line,) in plan)


def test_the_filter_follows_the_list(fresh_database):
    with connect(fresh_database, autocommit=True) as connection:
        assert connection.execute(BROKEN).fetchone() == (0,)
        for number, ids in enumerate([1, 3, 0, 130, 1, 3000, 2, 40_000, 5]):
            connection.execute(ADD, [f"id {number}-", ids])
            assert connection.execute(BROKEN).fetchone() == (0,)
        # nor does an id that is renamed or gone leave a trace
        connection.execute(
            "update ops.opt_outs set subject_id = 'another ' || subject_id where subject_id like 'id 7-%'"
        )
        assert connection.execute(BROKEN).fetchone() == (0,)
        connection.execute("delete from ops.opt_outs where subject_id <> 'id 0-1'")
        assert connection.execute(BROKEN).fetchone() == (0,)
        assert connection.execute("select bit_count(bits), octet_length(bits) from ops.opt_out_filter").fetchone() == (
            1,
            128,
        )


def test_choices_made_at_the_same_time_are_all_kept(fresh_database: Server):
    def add(ids: int) -> None:
        with connect(fresh_database) as connection:
            connection.execute(ADD, [f"thread {ids}-", ids])
            time.sleep(0.2)

    # one of them makes the filter anew
    threads = [threading.Thread(target=add, args=[ids]) for ids in (1, 3, 300, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connect(fresh_database) as connection:
        assert connection.execute("select count(*) from ops.opt_outs").fetchone() == (2 * 306,)
        assert connection.execute(BROKEN).fetchone() == (0,)
