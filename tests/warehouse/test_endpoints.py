"""The endpoints' functions: bodies as documented, numbers against the facts, bad arguments, who may call."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

import jsonschema
import psycopg
import pytest
from psycopg.types.json import set_json_loads

from ingest.connection import connect
from tests.warehouse.conftest import Warehouse
from tests.warehouse.endpoint_bodies import BODIES

WIDGET = "5e3c7f3a-0d1b-4a0d-8b9c-000000000010"
FUNNEL = "funnel_launch"
PERIODS = (
    "get_widget_summary",
    "get_widget_trends",
    "get_widget_events",
    "get_widget_traffic_sources",
    "get_widget_devices",
)
PAGES = ("get_widget_sessions", "get_sessions", "get_events")
READERS = ("tidemark_analyst", "tidemark_bi", "tidemark_workspace_reader")


@pytest.fixture(scope="module")
def reader(sample_warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    """A connection to the whole sample that only reads."""
    with contextlib.closing(connect(sample_warehouse.server, autocommit=True)) as connection:
        connection.execute("set default_transaction_read_only = on")
        set_json_loads(partial(json.loads, parse_float=Decimal), connection)
        yield connection


def call(connection: psycopg.Connection, function: str, *positional: Any, **named: Any) -> Any:
    """The body that a function of the marts returns."""
    arguments = ["%s"] * len(positional) + [f'"{name}" => %s' for name in named]
    statement = f"select marts.{function}({', '.join(arguments)})"
    return connection.execute(statement, [*positional, *named.values()]).fetchone()[0]


def refusal(connection: psycopg.Connection, function: str, *positional: Any, **named: Any) -> str:
    """What a function says when it refuses its arguments."""
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        call(connection, function, *positional, **named)
    return refused.value.diag.message_primary


# bodies


@pytest.mark.parametrize("function", BODIES)
def test_a_body_is_as_documented_full_and_empty(reader, function):
    validator = jsonschema.Draft202012Validator(BODIES[function])
    visitor = reader.execute(
        "select anonymous_id from marts.fct_sessions where app_id = %s and converted order by started_at limit 1",
        [FUNNEL],
    ).fetchone()[0]
    more = {"get_user_profiles": [[visitor]], "get_visitor_timeline": [visitor]}.get(function, [])
    app = WIDGET if "widget" in function else FUNNEL
    full, empty = call(reader, function, app, *more), call(reader, function, "no such app", *more)
    validator.validate(full)
    validator.validate(empty)
    lists = [key for key, value in empty.items() if isinstance(value, list)]
    assert all(full[key] and not empty[key] for key in lists)
    if function == "get_user_profiles":
        assert set(full) == {visitor}
        assert empty == {}
    else:
        assert empty["chatbot_id" if "widget" in function else "funnelId"] == "no such app"
        assert full.keys() == empty.keys()


def test_every_function_has_a_schema_and_the_promised_properties(reader):
    rows = reader.execute(
        """
        select
            proname, provolatile, proparallel, prosecdef, proconfig, obj_description(oid, 'pg_proc'),
            array(select role from unnest(%s::text[]) as role where has_function_privilege(role, oid, 'execute')),
            has_function_privilege('tidemark_loader', oid, 'execute')
        from pg_proc where pronamespace = 'marts'::regnamespace and proname like 'get\\_%%'
        """,
        [list(READERS)],
    ).fetchall()
    assert BODIES.keys() <= {row[0] for row in rows}
    for name, volatility, parallel, definer, settings, description, may, others_may in rows:
        assert (volatility, parallel, definer) == ("s", "s", False), name
        assert "search_path=pg_catalog, pg_temp" in settings, name
        assert description, name
        assert (may, others_may) == (list(READERS), False), name


# numbers against the facts


def test_distinct_visitors_of_every_run_of_days_are_those_of_the_sessions(reader):
    differing = reader.execute(
        """
        with ours as materialized (
            select app_id, last_day, days, marts.get_widget_summary(app_id, days, last_day) -> 'summary' as body
            from (select distinct app_id from marts.fct_sessions) as apps
            cross join generate_series(
                timestamptz '2026-02-24 23:00+00', '2026-04-01 23:00+00', interval '3 days'
            ) as last_day
            cross join (values (1), (2), (7), (13), (30), (90)) as run (days)
        )

        select app_id, last_day, days, ours.body, count(distinct sessions.visitor_id)
        from ours
        inner join marts.fct_sessions as sessions using (app_id)
        where sessions.session_date > (last_day at time zone 'UTC')::date - days
            and sessions.session_date <= (last_day at time zone 'UTC')::date
        group by app_id, last_day, days, ours.body
        having (ours.body ->> 'unique_visitors')::bigint <> count(distinct sessions.visitor_id)
            or (ours.body ->> 'total_sessions')::bigint <> count(*)
            or (ours.body ->> 'total_conversations')::bigint <> count(*) filter (where sessions.had_conversation)
            or (ours.body ->> 'avg_session_duration_seconds')::bigint <> round(avg(sessions.duration_seconds))
        """
    ).fetchall()
    assert differing == []
    # A run is not the sum of its days.
    week, days = (
        call(reader, "get_widget_summary", WIDGET, 7)["summary"]["unique_visitors"],
        reader.execute(
            "select sum(unique_visitors) from marts.agg_daily_stats where app_id = %s and stat_date > '2026-03-25'",
            [WIDGET],
        ).fetchone()[0],
    )
    assert 0 < week < days


def test_weeks_and_months_hold_the_sessions_of_their_days(reader):
    for period in ("week", "month"):
        differing = reader.execute(
            f"""
            with sessions as (
                select *, date_trunc('{period}', session_date::timestamp)::date as start_date,
                    min(session_date) over (partition by app_id, visitor_id) as first_date
                from marts.fct_sessions
            ),

            counted as (
                select
                    app_id, start_date, count(*) as total_sessions, count(distinct visitor_id) as unique_visitors,
                    count(distinct visitor_id) filter (where first_date >= start_date) as new_visitors,
                    round(avg(duration_seconds))::bigint as seconds, sum(messages_sent) as sent,
                    round(100.0 * count(*) filter (where had_conversation) / count(*), 2) as rate
                from sessions group by app_id, start_date
            )

            select * from counted full join marts.agg_{period}ly_stats as stats
                on counted.app_id = stats.app_id and counted.start_date = stats.{period}_start_date
            where (
                counted.total_sessions, counted.unique_visitors, counted.new_visitors, counted.seconds, counted.sent,
                counted.rate
            ) is distinct from (
                stats.total_sessions, stats.unique_visitors, stats.new_visitors, stats.avg_session_duration_seconds,
                stats.total_messages_sent, stats.conversion_rate
            )
            """
        ).fetchall()
        assert differing == []


def test_events_are_counted_by_name_and_a_visit_once(reader):
    for app in (WIDGET, FUNNEL, "default"):
        for days, last in ((1, "2026-03-15"), (7, "2026-03-31"), (30, "2026-03-31")):
            body = call(reader, "get_widget_events", app, days, 100, as_of=f"{last}T12:00:00Z")
            expected = reader.execute(
                """
                select event_name, count(*), count(distinct session_key) from marts.fct_events
                where app_id = %s and event_date > %s::date - %s and event_date <= %s::date
                    and event_name not in ('session_upsert', 'session_increment')
                group by event_name order by 2 desc, 1
                """,
                [app, last, days, last],
            ).fetchall()
            assert [
                tuple(row[k] for k in ("event_name", "event_count", "unique_sessions")) for row in body["events"]
            ] == (expected)
    assert len(call(reader, "get_widget_events", WIDGET, limit=3)["events"]) == 3


def test_sources_and_devices_add_up_to_the_sessions(reader):
    sources, devices = call(reader, "get_widget_traffic_sources", WIDGET), call(reader, "get_widget_devices", WIDGET)
    columns = [
        (sources["utm_sources"], "source", "utm_source"),
        (sources["referrers"], "domain", "coalesce(referrer_domain, 'direct')"),
        (devices["devices"], "type", "coalesce(device_type, 'unknown')"),
        (devices["browsers"], "name", "coalesce(browser_name, 'unknown')"),
        (devices["operating_systems"], "name", "coalesce(os_name, 'unknown')"),
    ]
    for rows, name, column in columns:
        expected = reader.execute(
            f"""
            select {column}, count(*) from marts.fct_sessions
            where app_id = %s and session_date > '2026-04-01'::date - 30 and {column} is not null
            group by 1 order by 2 desc, 1
            """,
            [WIDGET],
        ).fetchall()
        assert [(row[name], row["count"]) for row in rows] == expected
        assert len(rows) > 1


def test_active_sessions_are_those_with_activity_in_the_last_half_hour(reader):
    seen = 0
    for hour in range(24):
        at = f"2026-03-18T{hour:02}:10:00+00:00"
        expected = reader.execute(
            """
            select count(*) from marts.fct_sessions as sessions
            where app_id = %(app)s and exists (
                select from marts.fct_events as events
                where events.session_key = sessions.session_key
                    and occurred_at > %(at)s::timestamptz - interval '30 minutes' and occurred_at <= %(at)s
            )
            """,
            {"app": WIDGET, "at": at},
        ).fetchone()[0]
        body = call(reader, "get_widget_active", WIDGET, at)
        assert (body["active_sessions"], body["timestamp"]) == (expected, at.replace("+00:00", "Z"))
        seen += expected
    assert seen > 10


@pytest.mark.parametrize("function", PAGES)
def test_pages_hold_every_row_once_newest_first(reader, function):
    app, rows, key = (FUNNEL, "events", "eventId") if function == "get_events" else (WIDGET, "sessions", "id")
    as_of = "2026-03-12T10:00:00Z"
    expected = reader.execute(
        """
        select event_id from marts.fct_events where app_id = %s and occurred_at <= %s
        order by occurred_at desc, event_id, session_key
        """
        if rows == "events"
        else "select session_key::text from marts.fct_sessions where app_id = %s and started_at <= %s"
        " order by started_at desc, session_key",
        [app, as_of],
    ).fetchall()
    found = []
    for page in range(1, len(expected) // 37 + 3):
        body = call(reader, function, app, page, 37, as_of)
        assert (body["total"], body["page"], body["limit"]) == (len(expected), page, 37)
        found += [row[key] for row in body[rows]]
    assert found == [row[0] for row in expected]
    assert page > 10
    assert body[rows] == []
    beyond = call(reader, function, app, 2_147_483_647, 100)
    assert (beyond[rows], beyond["total"] > len(expected)) == ([], True)


# visitors


def test_profiles_are_found_by_any_id_of_the_visitor_and_only_in_the_app(reader):
    visitor_id, anonymous_id, user_id = reader.execute(
        """
        select visitor_id::text, anonymous_id, user_id from marts.fct_sessions
        where app_id = %s and anonymous_id is not null and user_id is not null order by started_at limit 1
        """,
        [WIDGET],
    ).fetchone()
    sessions, first, last = reader.execute(
        "select count(*), min(started_at), max(ended_at) from marts.fct_sessions where app_id = %s and visitor_id = %s",
        [WIDGET, visitor_id],
    ).fetchone()
    asked = [anonymous_id, user_id, visitor_id, "nobody", anonymous_id, None]
    profiles = call(reader, "get_user_profiles", WIDGET, asked)
    assert set(profiles) == {anonymous_id, user_id, visitor_id}
    for id_, profile in profiles.items():
        assert profile["id"] == id_
        assert profile["totalSessions"] == sessions
        assert profile["firstSeen"] == first.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert profile["lastSeen"] == last.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert profile["displayName"] == profiles[visitor_id]["displayName"]
    assert call(reader, "get_user_profiles", FUNNEL, asked) == {}
    assert call(reader, "get_user_profiles", WIDGET, []) == call(reader, "get_user_profiles", WIDGET, None) == {}
    assert refusal(reader, "get_user_profiles", WIDGET, ["x"] * 101) == "ids may hold at most 100 ids, not 101"


def test_a_timeline_is_all_of_one_visitor_in_order(reader):
    visitor = reader.execute(
        """
        select visitor_id::text from marts.fct_sessions where app_id = %s group by 1
        order by count(*) filter (where converted) desc, 1 limit 1
        """,
        [FUNNEL],
    ).fetchone()[0]
    body = call(reader, "get_visitor_timeline", FUNNEL, visitor, limit=100)
    story = list(body["timeline"])
    for page in range(2, body["total"] // 100 + 2):
        story += call(reader, "get_visitor_timeline", FUNNEL, visitor, page, 100)["timeline"]
    assert len(story) == body["total"]
    assert all(later["timestamp"] >= earlier["timestamp"] for later, earlier in pairwise(story))
    for kind, relation, condition in (
        ("session_started", "fct_sessions", "true"),
        ("page_view", "fct_page_views", "true"),
        ("goal", "fct_goals", "true"),
        ("error", "fct_errors", "true"),
        ("llm_request", "fct_llm_requests", "true"),
        ("event", "fct_events", "event_role not in ('page_view', 'error') and not is_conversion"),
    ):
        expected = reader.execute(
            f"""
            select count(*) from marts.{relation} as facts
            where session_key in (select session_key from marts.fct_sessions where app_id = %s and visitor_id = %s)
                and {condition}
            """,
            [FUNNEL, visitor],
        ).fetchone()[0]
        assert sum(entry["type"] == kind for entry in story) == expected, kind
    assert call(reader, "get_visitor_timeline", "default", "nobody")["profile"] is None


# bad arguments


@pytest.mark.parametrize("function", PERIODS)
def test_days_out_of_range_are_refused_and_none_means_the_default(reader, function):
    for days in (0, -1, 10_000_000):
        assert refusal(reader, function, WIDGET, days) == f"days must be from 1 to 3660, not {days}"
    default = 7 if function == "get_widget_events" else 30
    assert (
        call(reader, function, WIDGET, None)
        == call(reader, function, WIDGET)
        == call(reader, function, WIDGET, default)
    )
    assert call(reader, function, WIDGET, 3660)["period_days"] == 3660


@pytest.mark.parametrize("function", ["get_widget_events", *PAGES, "get_visitor_timeline"])
def test_limits_out_of_range_are_refused(reader, function):
    more = ["somebody"] if function == "get_visitor_timeline" else []
    for limit in (0, -1, 101):
        assert refusal(reader, function, WIDGET, *more, limit=limit) == f"limit must be from 1 to 100, not {limit}"
    assert call(reader, function, WIDGET, *more, limit=None) == call(reader, function, WIDGET, *more)


@pytest.mark.parametrize("function", PAGES)
def test_pages_before_the_first_are_refused(reader, function):
    for page in (0, -3):
        assert refusal(reader, function, WIDGET, page) == f"page must be 1 or more, not {page}"
    assert call(reader, function, WIDGET, None)["page"] == 1


@pytest.mark.parametrize("app", ["it's", "'; drop table marts.fct_sessions; --", '"', "", "x" * 10_000, "%", None])
def test_an_odd_app_is_an_unknown_one(reader, app):
    for function in (*PERIODS, *PAGES, "get_widget_active"):
        body = call(reader, function, app)
        assert body["chatbot_id" if "widget" in function else "funnelId"] == app
    assert reader.execute("select count(*) > 0 from marts.fct_sessions").fetchone()[0]


def test_as_of_must_be_a_time(reader):
    for function in (*PERIODS, *PAGES, "get_widget_active"):
        assert refusal(reader, function, WIDGET, as_of="infinity") == "as_of must be a time, not infinity"


# who may call


def test_readers_call_and_nobody_else(sample_warehouse):
    with contextlib.closing(connect(sample_warehouse.server)) as connection:
        for role in ("tidemark_analyst", "tidemark_bi"):
            connection.execute(f"set local role {role}")
            assert call(connection, "get_widget_summary", WIDGET)["summary"]["total_sessions"] > 0
            assert call(connection, "get_events", FUNNEL)["total"] > 0
            # as of comes from a view that anybody may read, and the clock behind it
            assert connection.execute("select count(*) > 0 from marts.dim_visitors").fetchone()[0]
            connection.execute("reset role")
        connection.execute("grant usage on schema marts to tidemark_loader")
        connection.execute("set local role tidemark_loader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="get_widget_summary"):
            call(connection, "get_widget_summary", WIDGET)
        connection.rollback()


def test_who_sees_some_rows_gets_pages_and_totals_of_those_alone(sample_warehouse):
    with contextlib.closing(connect(sample_warehouse.server)) as connection:
        visible = connection.execute(
            "select count(*) from marts.fct_sessions where app_id = %s and device_type = 'mobile'", [WIDGET]
        ).fetchone()[0]
        everything = call(connection, "get_sessions", WIDGET)["total"]
        connection.execute(
            """
            alter table marts.fct_sessions enable row level security;
            drop policy if exists tenants on marts.fct_sessions;
            create policy own_rows on marts.fct_sessions for select
                to tidemark_workspace_reader using (device_type = 'mobile');
            grant usage on schema marts to tidemark_workspace_reader;
            grant select on all tables in schema marts to tidemark_workspace_reader;
            set local role tidemark_workspace_reader;
            """
        )
        body = call(connection, "get_sessions", WIDGET, limit=100)
        assert 0 < visible < everything
        assert body["total"] == visible
        assert {row["deviceType"] for row in body["sessions"]} == {"mobile"}
        last = call(connection, "get_sessions", WIDGET, page=-(-visible // 100), limit=100)
        assert len(last["sessions"]) == (visible - 1) % 100 + 1
        connection.rollback()


# a few visits whose numbers are counted by hand


def event(at: str, session: str, visitor: str, name: str, **more: Any) -> bytes:
    record = {"appId": "bot", "timestamp": f"2026-03-{at}Z", "sessionId": session, "anonymousId": visitor}
    return json.dumps(record | {"eventName": name} | more).encode()


EVENTS = [
    event("01T10:00:00", "a1", "ann", "widget_loaded", utmSource="google", landingPage="/pricing"),
    event("01T10:01:00", "a1", "ann", "message_sent"),
    event("01T10:02:00", "a1", "ann", "message_received", properties={"response_time_ms": 1500}),
    # one visit over midnight
    event("05T23:50:00", "a2", "ann", "widget_opened"),
    event("06T00:10:00", "a2", "ann", "message_sent"),
    event("05T09:00:00", "b1", "bob", "widget_loaded", referrer="https://www.news.example/a"),
    event("10T11:50:00", "b2", "bob", "widget_loaded"),
    event("10T11:00:00", "c1", "cay", "widget_loaded"),
    # what tells of a session is no event
    event("10T11:00:01", "c1", "cay", "session_upsert", properties={"messages_sent": 0}),
]
ODD_EVENTS = [
    event("02T10:00:00", "d1", "dan", "buttonClicked", appId="site", properties={"label": "a"}),
    event("02T10:00:01", "d1", "dan", "page_view", appId="site", properties={"plan_level": "pro"}),
    event("02T10:00:02", "d1", "dan", "page_view", appId="site", properties={"plan_level": 2}),
    event("02T10:00:03", "d1", "dan", "resource_viewed", appId="site", properties={"note": "x" * 1100}),
    event("02T10:00:04", "d1", "dan", "resource_viewed", appId="site", properties={"note": "x" * 900}),
    event(
        "02T10:00:05",
        "d1",
        "dan",
        "lead_capture",
        appId="site",
        properties={"contactEmail": "a", "by": "+49 170 1234567"},
    ),
    event("02T10:00:06", "d1", "dan", "lead_capture", appId="site", properties={"by": "mail me: dan@mail.example"}),
    event(
        "02T10:00:07", "d1", "dan", "lead_capture", appId="site", properties={"at": "2026-03-02", "n": "1772445607000"}
    ),
]
# Sent late: on the evening before the message after midnight, in the same visit.
LATE = event("05T23:55:00", "a2", "ann", "message_sent")
NOON = "2026-03-10T12:00:00Z"


@pytest.fixture(scope="module")
def by_hand(make_warehouse) -> Iterator[psycopg.Connection]:
    warehouse = make_warehouse()
    warehouse.load("events", [*EVENTS, *ODD_EVENTS])
    assert warehouse.refresh(NOON).tests_failed == []
    warehouse.load("events", [LATE])
    assert warehouse.refresh(NOON).tests_failed == []
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        yield connection


def test_a_summary_counted_by_hand(by_hand):
    # a1 2 minutes, a2 20, b1, b2 and c1 nothing: 1320 s in 5 visits; two of them with a message
    assert call(by_hand, "get_widget_summary", "bot", 10) == {
        "chatbot_id": "bot",
        "period_days": 10,
        "summary": {
            "total_sessions": 5,
            "unique_visitors": 3,
            "total_conversations": 2,
            "avg_session_duration_seconds": 264,
            "conversion_rate": 40.0,
        },
    }
    of_six_days = call(by_hand, "get_widget_summary", "bot", 6)["summary"]
    assert (of_six_days["total_sessions"], of_six_days["unique_visitors"], of_six_days["conversion_rate"]) == (4, 3, 25)
    of_the_first_five = call(by_hand, "get_widget_summary", "bot", 5, "2026-03-05T23:59:00Z")["summary"]
    assert (of_the_first_five["total_sessions"], of_the_first_five["unique_visitors"]) == (3, 2)


def test_trends_counted_by_hand(by_hand):
    assert call(by_hand, "get_widget_trends", "bot", 10)["trends"] == [
        {"stat_date": "2026-03-01", "sessions": 1, "conversations": 1, "messages": 2, "conversion_rate": 100},
        {"stat_date": "2026-03-05", "sessions": 2, "conversations": 1, "messages": 2, "conversion_rate": 50},
        {"stat_date": "2026-03-10", "sessions": 2, "conversations": 0, "messages": 0, "conversion_rate": 0},
    ]


def test_a_visit_over_midnight_counts_once_and_a_late_event_on_the_evening_before_tells_the_next_day(by_hand):
    def message_sent(days: int, as_of: str) -> tuple[int, int]:
        body = call(by_hand, "get_widget_events", "bot", days, as_of=f"2026-03-{as_of}")
        rows = {row["event_name"]: (row["event_count"], row["unique_sessions"]) for row in body["events"]}
        assert "session_upsert" not in rows
        return rows["message_sent"]

    assert message_sent(10, "10T12:00Z") == (3, 2)
    assert message_sent(2, "06T12:00Z") == (2, 1)
    assert message_sent(1, "06T12:00Z") == (1, 1)
    assert message_sent(1, "05T12:00Z") == (1, 1)


def test_the_other_bodies_counted_by_hand(by_hand):
    assert call(by_hand, "get_widget_active", "bot") == {
        "chatbot_id": "bot", "active_sessions": 1, "timestamp": "2026-03-10T12:00:00Z"
    }  # fmt: skip
    sources = call(by_hand, "get_widget_traffic_sources", "bot")
    assert sources["utm_sources"] == [{"source": "google", "count": 1}]
    assert sources["referrers"] == [{"domain": "direct", "count": 4}, {"domain": "news.example", "count": 1}]
    profiles = call(by_hand, "get_user_profiles", "bot", ["ann", "cay", "dan"])
    # the upsert tells of its session and counts among its records
    assert {id_: profile["totalSessions"] for id_, profile in profiles.items()} == {"ann": 2, "cay": 1}
    assert profiles["ann"]["totalEvents"] == 6
    sessions = call(by_hand, "get_widget_sessions", "bot", 2, 2)
    assert [session["session_id"] for session in sessions["sessions"]] == ["a2", "b1"]
    assert sessions["sessions"][0] | {"duration_seconds": 1200, "messages_sent": 2} == sessions["sessions"][0]


def test_weeks_and_months_counted_by_hand(by_hand):
    # Ann came on Sunday the 1st and in the week after; of that week she is no new visitor.
    assert by_hand.execute(
        """
        select week_start_date::text, total_sessions, unique_visitors, new_visitors, returning_visitors
        from marts.agg_weekly_stats where app_id = 'bot' order by 1
        """
    ).fetchall() == [("2026-02-23", 1, 1, 1, 0), ("2026-03-02", 2, 2, 1, 1), ("2026-03-09", 2, 2, 1, 1)]
    month = by_hand.execute(
        """
        select month_start_date::text, total_sessions, unique_visitors, new_visitors, avg_response_time_ms, utm_sources,
            top_landing_pages
        from marts.agg_monthly_stats where app_id = 'bot'
        """
    ).fetchall()
    google, pricing = [{"name": "google", "count": 1}], [{"name": "/pricing", "count": 1}]
    assert month == [("2026-03-01", 5, 3, 3, 1500, google, pricing)]


def test_the_dictionary_lists_what_breaks_the_rules(by_hand):
    issues = by_hand.execute(
        "select event_name, issue, property_name, events, detail from marts.agg_event_issues order by 1, 2, 3"
    ).fetchall()
    assert issues == [
        ("buttonClicked", "not_snake_case", "", 1, "snake_case is button_clicked"),
        ("buttonClicked", "unknown_name", "", 1, "not in the tracking plan"),
        ("lead_capture", "personal_data", "by", 2, "looks like email, phone"),
        ("lead_capture", "personal_data", "contactEmail", 1, "looks like email"),
        ("page_view", "mixed_types", "plan_level", 2, "2 types of values"),
        ("page_view", "not_past_tense", "", 2, "the standard event is page_viewed"),
        ("page_view", "unknown_name", "", 2, "not in the tracking plan"),
        ("resource_viewed", "oversized_properties", "", 1, "properties over 1 KB"),
    ]
    seen = by_hand.execute(
        """
        select event_category, is_standard, first_seen_at = '2026-03-01 10:01Z', last_seen_at = '2026-03-06 00:10Z',
            events, sessions, apps, issues
        from marts.event_dictionary where event_name = 'message_sent'
        """
    ).fetchall()
    assert seen == [("engagement", True, True, True, 3, 2, 1, [])]
    unseen = by_hand.execute(
        "select event_category, first_seen_at, events from marts.event_dictionary where event_name = 'widget_minimized'"
    ).fetchall()
    assert unseen == [("engagement", None, 0)]
