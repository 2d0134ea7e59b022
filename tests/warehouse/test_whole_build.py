"""The whole build the bench measures: its stream, and what it must agree on with hand-written SQL."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import datetime

import pytest

from ingest.connection import connect
from ingest.load import load_file
from ingest.sample import AS_OF
from orchestration.bench_build import CORE, build_floor, build_whole, write_sessions

EVENTS = 2_000
BY_HAND = """
select session_group, started_at, ended_at, events, page_views, coalesce(converted, false), revenue
from floor.sessions order by session_group, started_at
"""
BY_MODELS = """
select session_group, started_at, ended_at, event_count, pages_visited, converted, conversion_value
from marts.fct_sessions order by session_group, started_at
"""


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "events.ndjson"
    write_sessions(path, EVENTS)
    return path


@pytest.fixture(scope="module")
def built(make_warehouse, stream):
    """The stream in raw, the tables by hand, and the core marts."""
    warehouse = make_warehouse()
    with connect(warehouse.server) as connection:
        loaded = load_file(connection, stream, stream="events")
    assert loaded.rejected == 0
    build_floor(warehouse.server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMARK_AS_OF", str(AS_OF))
        for name in [name for name in os.environ if name.startswith("PG")]:
            patch.delenv(name)
        build_whole(warehouse.server, CORE)
    return warehouse


def test_the_stream_has_as_many_events_as_asked_for_in_the_order_of_days(stream):
    events = [json.loads(line) for line in stream.read_text().splitlines()]
    days = [datetime.fromisoformat(event["timestamp"]).date() for event in events]
    assert len(events) == EVENTS
    assert len({event["eventId"] for event in events}) == EVENTS
    # sessions last less than two hours and begin before ten in the evening
    assert len(set(days)) == 28
    assert days == sorted(days)


def test_some_sessions_have_an_id_and_some_people_sign_in(stream):
    events = [json.loads(line) for line in stream.read_text().splitlines()]
    of_session = Counter(event["sessionId"] for event in events if "sessionId" in event)
    assert max(of_session.values()) <= 25
    assert 0.3 * EVENTS < of_session.total() < 0.7 * EVENTS
    assert any("userId" in event for event in events)
    assert {event["anonymousId"] for event in events if "userId" not in event}


def test_the_models_and_the_hand_written_tables_find_the_same_visits(built):
    by_hand = built.query(BY_HAND)
    assert by_hand == built.query(BY_MODELS)
    assert sum(visit[3] for visit in by_hand) == EVENTS


def test_a_mart_built_whole_has_the_primary_key_its_contract_names(built):
    keys = dict(
        built.query(
            """
            select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint
            where connamespace = 'marts'::regnamespace and contype = 'p'
            """
        )
    )
    tables = {name for (name,) in built.query("select 'marts.' || tablename from pg_tables where schemaname = 'marts'")}
    assert tables == keys.keys()
    assert keys["marts.fct_events"] == "PRIMARY KEY (session_group, event_id)"
    assert keys["marts.agg_visitors"] == "PRIMARY KEY (visitor_id)"
