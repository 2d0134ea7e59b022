"""Data that breaks warehouses: crowded groups, broken clocks, odd paths, ids as long as they may be."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.connection import connect
from tests.warehouse.conftest import Warehouse, under_one_name

START = datetime(2026, 3, 1, 9, tzinfo=timezone.utc)
LONGEST_ID = 255


def at(seconds: float, start: datetime = START) -> str:
    return (start + timedelta(seconds=seconds)).isoformat()


def event(number: int, seconds: float, **more: Any) -> dict[str, Any]:
    return {"eventId": f"e{number}", "eventName": "clicked", "timestamp": at(seconds), **more}


def batch(name: str, session: str, seconds: float, pages: list[str], timings: list[int], **more: Any) -> dict[str, Any]:
    """A flush half a minute after the start."""
    return {
        "sessionId": session,
        "batchId": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "batchSeq": 0,
        "startedAt": at(seconds),
        "endedAt": at(seconds + 30),
        "pathSequence": pages,
        "pathTimings": timings,
        **more,
    }


def load(warehouse: Warehouse, records: dict[str, list[dict[str, Any]]]) -> None:
    for stream, rows in records.items():
        warehouse.load(stream, [json.dumps(row).encode() for row in rows])


# Crowded groups

CROWD = 2000


def crowds() -> dict[str, list[dict[str, Any]]]:
    """Groups of so many rows that comparing each with each shows: one kind of crowd in each."""
    events = [
        # a visitor of years: 2,000 visits of three events
        *(event(n, 1900 * (n // 3) - 1900 * CROWD + n % 3, anonymousId="a1") for n in range(3 * CROWD)),
        # views of one page, told by its path and by events too
        *(event(n, 1000 + n - 10 * CROWD, eventName="page_view", page_url="https://x.example/", sessionId="pages")
          for n in range(10 * CROWD, 11 * CROWD)),
    ]  # fmt: skip
    batches = [
        # reloaded again and again, all with the same first two pages; each has metadata to hand on
        *(batch(f"reload {n}", "reloads", 60 * n, ["/", "/a", f"/{n}"], [0, 1000, 2000], metadata={"plan": f"p{n}"})
          for n in range(CROWD)),
        # a goal carried over by all
        *(batch(f"goal {n}", "goals", 60 * n, ["/"], [0], goalEvents={"signup": at(-5)}) for n in range(CROWD)),
        # the same goal time in sessions that have nothing to do with each other
        *(batch(f"strangers {n}", f"stranger {n}", 60 * n, ["/"], [0], goalEvents={"daily": at(-9)})
          for n in range(CROWD)),
        # one model, one number of tokens, one minute
        *(batch(f"chat {n}", "chat", 0, ["/", f"/{n}"], [0, n], llmInteractions=[
            {"model": "m", "tokens": 5, "cost": 0.1, "timestamp": at((10 * n + k) * 60 / CROWD)} for k in range(10)])
          for n in range(CROWD // 10)),
        # stopped generations, which resemble any request
        *(batch(f"stopped {n}", "stopped", 0, ["/", f"/{n}"], [0, n], llmInteractions=[
            {"model": "unknown", "tokens": 0, "cost": 0, "timestamp": at((10 * n + k) * 10)} for k in range(10)])
          for n in range(CROWD // 10)),
        *(batch(f"pages {n}", "pages", 1000 + 40 * n, ["/"] * 40, [1000 * k for k in range(40)],
                batchSeq=n)
          for n in range(CROWD // 40)),
        # a path that no browser walks
        batch("path", "path", 0, [f"/{n % 100}" for n in range(10 * CROWD)], list(range(10 * CROWD))),
    ]  # fmt: skip
    requests = [
        *({"requestId": f"c{n}", "sessionId": "chat", "modelId": "m", "totalTokens": 5,
           "timestamp": at(n * 60 / CROWD + 0.003)} for n in range(CROWD)),
        *({"requestId": f"s{n}", "sessionId": "stopped", "modelId": "m", "totalTokens": 5,
           "timestamp": at(10 * n + 3)} for n in range(CROWD)),
        # one message id everywhere
        *({"requestId": f"m{n}", "messageId": "1", "sessionId": f"message {n}", "modelId": "m",
           "timestamp": at(n)} for n in range(CROWD)),
    ]  # fmt: skip
    return {"events": events, "session_batches": batches, "llm_requests": requests}


MODELS_THAT_COMPARE = (
    "int_reload_pairs", "int_batches", "int_batch_pages", "int_batch_entries", "int_batch_values", "int_llm_requests",
    "int_session_batches", "int_session_metadata", "agg_session_touches", "fct_events", "fct_page_views", "fct_goals",
    "fct_llm_requests",
)  # fmt: skip


def busiest_node(plan: dict[str, Any]) -> tuple[float, str]:
    """The most rows that one node of an analyzed plan looked at, and which node that is."""
    looked_at = plan["Actual Loops"] * (
        plan["Actual Rows"] + plan.get("Rows Removed by Join Filter", 0) + plan.get("Rows Removed by Filter", 0)
    )
    return max([(looked_at, plan["Node Type"]), *map(busiest_node, plan.get("Plans", []))])


def compiled_sql(kind: str) -> dict[str, str]:
    """What dbt compiled last of a kind, by name; what unit tests compile lies in folders named for their files."""
    folder = Path(os.environ["DBT_TARGET_PATH"], "compiled", "tidemark", kind)
    return {path.stem: path.read_text() for path in folder.rglob("*.sql") if ".yml" not in str(path)}


def rows_looked_at(connection: psycopg.Connection, query: str) -> tuple[float, str]:
    """busiest_node() of a query."""
    plans = connection.execute(f"explain (analyze, timing off, format json) {query}").fetchone()[0]
    return busiest_node(plans[0]["Plan"])


@pytest.fixture(scope="module")
def crowded(make_warehouse) -> tuple[Warehouse, int]:
    """A warehouse full of crowds, built whole, and how many things they did in all."""
    records = crowds()
    warehouse = make_warehouse()
    load(warehouse, records)
    warehouse.refresh()
    done = sum(map(len, records.values())) + sum(
        len(sent["pathSequence"]) + len(sent.get("llmInteractions", ())) for sent in records["session_batches"]
    )
    return warehouse, done


def test_no_model_compares_each_with_each(crowded):
    """A deterministic measure of work: the rows that the busiest node of a plan looked at."""
    warehouse, done = crowded
    # As the refresh just built them, whole. Compiled names say of which database, too.
    compiled = compiled_sql("models")
    with (
        under_one_name(warehouse.server) as server,
        contextlib.closing(connect(server, autocommit=True)) as connection,
    ):
        work = {model: rows_looked_at(connection, compiled[model]) for model in MODELS_THAT_COMPARE}
    assert 20 * done < CROWD * CROWD / 2
    assert {model: rows for model, rows in work.items() if rows[0] > 10 * done} == {}


@contextlib.contextmanager
def all_listed(warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    """A connection to a warehouse of which every key is listed as touched, as in the refresh after a long outage;
    what is done on it is undone."""
    with (
        under_one_name(warehouse.server) as server,
        contextlib.closing(connect(server, autocommit=True)) as connection,
        connection.transaction(force_rollback=True),
    ):
        for kind, column in (
            ("session_group", "session_group"),
            ("fct_sessions.visitor_id", "visitor_id"),
            ("fct_sessions.session_date", "session_date"),
        ):
            connection.execute(
                f"insert into ops.touched (target, kind, key)"
                f" select distinct 'prod', '{kind}', {column}::text from marts.fct_sessions"
            )
        connection.execute("analyze ops.touched")
        yield connection


def test_no_hourly_test_compares_each_with_each(crowded):
    warehouse, done = crowded
    compiled = {name: query for name, query in compiled_sql("tests").items() if name.startswith("touched_")}
    with all_listed(warehouse) as connection:
        # What the planner falls into where it expects one row; a full join, which it cannot loop over, stays.
        connection.execute("set local enable_hashjoin = off; set local enable_mergejoin = off")
        work = {name: rows_looked_at(connection, query) for name, query in compiled.items()}
    assert len(work) > 5
    assert {name: rows for name, rows in work.items() if rows[0] > 10 * done} == {}


def test_a_visit_that_counts_what_is_not_there_is_seen_whatever_it_counts(crowded):
    warehouse, _ = crowded
    query = compiled_sql("tests")["touched_sessions_count_their_facts"]
    # Each of a visit of its own, so that each is seen by itself.
    damages = (
        "pages_visited = pages_visited + 1", "goal_count = goal_count - 1", "event_count = event_count + 1",
        "llm_request_count = llm_request_count + 1", "error_count = error_count + 1",
        "llm_cost_usd = coalesce(llm_cost_usd, 0) + 0.000001", "llm_cost_usd = null",
        "bounce_session = not bounce_session",
    )  # fmt: skip
    with all_listed(warehouse) as connection:
        assert connection.execute(query).fetchall() == []
        visits = connection.execute(
            "select session_key from marts.fct_sessions where llm_cost_usd > 0 limit 1"
        ).fetchall()
        visits += connection.execute(
            "select session_key from marts.fct_sessions where llm_cost_usd is null limit %s", [len(damages) - 1]
        ).fetchall()
        damaged = dict(zip(sorted(damages, key=lambda damage: not damage.endswith("null")), visits, strict=True))
        for damage, visit in damaged.items():
            connection.execute(f"update marts.fct_sessions set {damage} where session_key = %s", visit)
        assert sorted(connection.execute(query).fetchall()) == sorted(damaged.values())


def test_crowds_are_counted_right(crowded):
    warehouse, _ = crowded
    views = dict(
        warehouse.query(
            "select session_group, count(*) from marts.fct_page_views where session_group = any(%s) group by 1",
            ["s:reloads", "s:goals", "s:pages", "s:path"],
        )
    )
    # Each reload shares the first two pages and has one of its own; a lone first page shared by a goal is one view.
    assert views == {"s:reloads": CROWD + 2, "s:goals": 1, "s:pages": CROWD, "s:path": 10 * CROWD}
    requests = Counter(warehouse.query("select session_group, told_by from marts.fct_llm_requests"))
    # The server tells each of them 3 ms (3 s) after the browser, every 30 ms (10 s): nearest neighbours.
    assert requests["s:chat", "both"] == requests["s:stopped", "both"] == CROWD
    assert {told_by for group, told_by in requests if group in ("s:chat", "s:stopped")} == {"both"}
    assert warehouse.query(
        "select total_sessions, total_events from marts.dim_visitors where anonymous_ids = '{a1}'"
    ) == [(CROWD, 3 * CROWD)]
    assert warehouse.query("select count(*) from marts.fct_goals where goal_name = 'signup'") == [(1,)]
    assert warehouse.query("select count(*) from marts.fct_goals where goal_name = 'daily'") == [(CROWD,)]
    # The last reload's metadata, after all it was handed down.
    assert ("p1999",) in warehouse.query("select plan from marts.fct_sessions where session_group = 's:reloads'")


# Odd values


def odd_values() -> dict[str, list[dict[str, Any]]]:
    """Records that load and are odd. Their session says what is odd."""
    long = "🦊" * LONGEST_ID
    batches = [
        batch("empty", "no page", 0, [], []),
        batch("negative", "negative timings", 0, ["/", "/a"], [-5000, -1]),
        batch("shorter", "fewer timings than pages", 0, ["/", "/a", "/b"], [0]),
        batch("longer", "more timings than pages", 0, ["/"], [0, 1000, 2000]),
        batch("far", "timings far ahead", 0, ["/", "/a"], [0, 10**17]),
        batch("backwards", "ends before it starts", 0, ["/", "/a"], [0, 1000], endedAt=at(-3600)),
        batch("strings", "load times are strings", 0, ["/", "/a"], [0, 1000], pageLoadTimes={"/": "812", "/a": "1e2"}),
        batch("behind", "a year behind", -365 * 86400, ["/"], [0]),
        batch("ahead", "a year ahead", 0, ["/"], [0], startedAt=at(365 * 86400, datetime.now(timezone.utc))),
        batch("goals", "broken goals", 0, ["/"], [0], goalEvents={"good": at(1), "bad": "soon", "worse": 1e99}),
        batch("absent", "nothing but absent", 0, ["/"], [0], userId="null", anonymousId="undefined", appId="NaN"),
        batch("names", "long names", 0, ["/" + "p" * 5000], [0],
              goalEvents={"g" * 3000: at(1)}, interactionSummary={"i" * 3000: 1}, featureInteractions={"f" * 3000: 1},
              pageLoadTimes={"/" + "p" * 5000: 700}, metadata={"workspaceId": "w" * 3000, "plan": "p" * 3000},
              errorEvents=[{"type": "t" * 3000, "page": "/", "time": 5, "message": "m" * 5000}],
              llmInteractions=[{"model": long, "tokens": 1, "cost": 0, "timestamp": at(2), "requestId": "r" * 3000}]),
        batch("long ids", long, 0, ["/"], [0], userId=long, anonymousId=long, appId=long),
    ]  # fmt: skip
    events = [
        {**dict.fromkeys(("eventId", "eventName", "category", "appId", "sessionId", "anonymousId", "userId",
                          "workspaceId", "projectId", "teamId", "orgId", "plan"), long), "timestamp": at(1)},
        event(1, 0, sessionId="long texts", page_url="https://x.example/" + "u" * 9000, page_title="t" * 9000,
              referrer="https://" + "r" * 3000 + ".example/", utm_source="s" * 3000, utm_campaign="c" * 3000,
              userAgent="a" * 9000, landing_page="/" + "l" * 9000, properties={"k" * 3000: "v" * 9000}),
        event(2, -365 * 86400, sessionId="an event a year behind"),
        {"eventName": "clicked", "sessionId": "an event a year ahead",
         "timestamp": at(365 * 86400, datetime.now(timezone.utc))},
    ]  # fmt: skip
    requests = [
        {**dict.fromkeys(("requestId", "messageId", "chatId", "sessionId", "anonymousId", "userId", "modelId",
                          "provider", "workspaceId", "featureId"), long), "totalTokens": 2**62, "timestamp": at(3)},
    ]  # fmt: skip
    identifies = [{"userId": long, "anonymousId": long, "sessionId": long, "timestamp": at(4)}]
    return {"session_batches": batches, "events": events, "llm_requests": requests, "identifies": identifies}


SESSION = 100_000


@pytest.fixture(scope="module")
def odd(make_warehouse) -> Warehouse:
    """A warehouse of odd records beside one session of 100,000 events, a second each."""
    warehouse = make_warehouse()
    load(warehouse, odd_values())
    midnight = -9 * 3600
    load(warehouse, {"events": [event(10 + n, midnight + n, sessionId="long") for n in range(SESSION)]})
    assert warehouse.refresh().tests_failed == []
    return warehouse


def views_of(warehouse: Warehouse, session: str) -> list[tuple[str, float]]:
    """The page views of a session, each with the seconds after `START`."""
    return warehouse.query(
        """
        select page, extract(epoch from viewed_at - %s)::float from marts.fct_page_views
        where session_group = %s order by view_number
        """,
        START,
        f"s:{session}",
    )


def test_a_session_of_100000_events_over_midnight_is_cut_at_24_hours(odd):
    assert odd.query(
        """
        select session_date::text, duration_seconds::bigint, event_count from marts.fct_sessions
        where session_group = 's:long' order by started_at
        """
    ) == [("2026-03-01", 86_399, 86_400), ("2026-03-02", SESSION - 86_401, SESSION - 86_400)]


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        # Before the batch began is at its start; a page without a time too.
        ("negative timings", [("/", 0), ("/a", 0)]),
        ("fewer timings than pages", [("/", 0), ("/a", 0), ("/b", 0)]),
        ("more timings than pages", [("/", 0)]),
        ("ends before it starts", [("/", 0), ("/a", 1)]),
        ("load times are strings", [("/", 0), ("/a", 1)]),
        ("a year behind", [("/", -365 * 86400)]),
        ("broken goals", [("/", 0)]),
        ("nothing but absent", [("/", 0)]),
        ("long names", [("/" + "p" * 5000, 0)]),
        ("no page", []),
        # A time more than 24 hours after receipt is a broken clock's.
        ("timings far ahead", []),
        ("a year ahead", []),
    ],
)
def test_odd_paths_are_counted_where_they_are_credible(odd, session, expected):
    assert views_of(odd, session) == expected
    kept_out = session in ("timings far ahead", "a year ahead")
    sessions = odd.query("select count(*) from marts.fct_sessions where session_group = %s", f"s:{session}")
    assert sessions == [(0 if kept_out else 1,)]


def test_what_is_kept_out_is_counted(odd):
    assert odd.query("select stream, reason, sum(records) from marts.agg_kept_out group by 1, 2 order by 1") == [
        ("events", "from the future", 1),
        ("session_batches", "from the future", 2),
    ]


def test_a_broken_goal_is_a_reject_and_the_rest_of_its_batch_counts(odd):
    assert odd.query("select goal_name from marts.fct_goals where session_group = 's:broken goals'") == [("good",)]
    rejects = odd.query("select field from raw.rejects order by element")
    assert rejects == [("goal_events",), ("goal_events",)]


def test_ids_as_long_as_they_may_be_are_keys_of_every_mart(odd):
    long = "🦊" * LONGEST_ID
    # The batch's session named the user from its start, and the sign-in by the identify call is the same.
    assert odd.query(
        "select user_id, event_count, llm_request_count from marts.fct_sessions where session_group = %s", f"s:{long}"
    ) == [(long, 1, 1)]
    assert odd.query("select distinct user_id from marts.visitor_aliases where anonymous_id = %s", long) == [(long,)]


@pytest.mark.parametrize(
    ("stream", "record", "field"),
    [
        ("events", event(1, 0, sessionId="x" * 256), "session_id"),
        ("events", event(1, 0, anonymousId="x" * 3000), "anonymous_id"),
        ("events", {**event(1, 0), "eventId": "x" * 3000}, "event_id"),
        ("session_batches", batch("a", "x" * 3000, 0, ["/"], [0]), "session_id"),
        ("llm_requests", {"modelId": "m", "messageId": "x" * 3000, "timestamp": at(0)}, "message_id"),
        ("identifies", {"userId": "x" * 3000, "timestamp": at(0)}, "user_id"),
    ],
)
def test_a_longer_id_is_refused_naming_the_field(fresh_database, tmp_path, stream, record, field):
    warehouse = Warehouse(fresh_database, tmp_path)
    load(warehouse, {stream: [record]})
    assert warehouse.query("select field, reason from raw.rejects") == [
        (field, f"{field}: is longer than 255 characters")
    ]


@pytest.mark.long
def test_a_visitor_of_a_million_events(make_warehouse):
    """Twenty minutes of events, then forty of nothing: 10,000 visits of 100 events."""
    warehouse = make_warehouse()
    first = -10_000 * 3600
    for part in range(10):
        load(warehouse, {"events": [
            event(n, first + 3600 * (n // 100) + 12 * (n % 100), anonymousId="a1")
            for n in range(100_000 * part, 100_000 * (part + 1))]})  # fmt: skip
    assert warehouse.refresh().tests_failed == []
    assert warehouse.query("select total_sessions, total_events from marts.dim_visitors") == [(10_000, 1_000_000)]
    load(warehouse, {"events": [event(10**6, 3600, anonymousId="a1")]})
    assert warehouse.refresh().touched_groups == 1
    assert warehouse.query("select total_sessions, total_events from marts.dim_visitors") == [(10_001, 1_000_001)]
