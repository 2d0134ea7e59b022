"""Bench rows on the functions that serve the endpoints: how long a call over a connection takes after a long history.

The facts are made up in SQL, straight in their marts; what the functions read is built from them by the models.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import psycopg

from ingest.connection import Server, connect
from ingest.migrate import migrate
from orchestration.bench_build import build_whole
from orchestration.bench_measure import Measure, timed
from orchestration.bench_refresh import database
from orchestration.refresh import refresh

SESSIONS, APPS, DAYS = 1_000_000, 20, 400
EVENTS_OF_SESSION = 2
AS_OF = datetime(2026, 4, 1, 12, tzinfo=timezone.utc)
# Calls of each kind; the slowest twentieth of them is left out.
CALLS = 200
READER = "tidemark_bi"
# Milliseconds: up to 30 days, beyond, and a page of sessions.
SHORT, LONG, PAGE = 5, 40, 10

# What stands on the facts and is read by the functions.
READ = (
    "path:models/marts/endpoints agg_visitors dim_visitor_apps agg_daily_stats agg_traffic_sources "
    "resource_type:function"
)

# Evenly over the days and apps; a visitor comes back by the square of a chance, a few of them often.
FILL = (
    """
    insert into marts.fct_sessions (
        session_group, session_key, app_id, visitor_id, anonymous_id, started_at, ended_at, session_date,
        duration_seconds, pages_visited, entry_page, exit_page, path_sequence, bounce_session, source, medium, campaign,
        utm_source, referrer_domain, landing_page, device_type, browser_name, os_name, is_bot, session_type, converted,
        goal_count, batch_count, event_count, interaction_count, features_used, error_count, widget_loaded_count,
        widget_opened_count, widget_minimized_count, messages_sent, messages_received, had_conversation,
        completed_pre_chat_form, response_count, response_ms, llm_request_count, llm_tokens, llm_unpriced_count,
        metadata
    )
    select
        's:bench_' || number, md5('session ' || number)::uuid, app_id,
        md5(app_id || visitor)::uuid, 'visitor_' || visitor, started_at, started_at + duration * interval '1 second',
        (started_at at time zone 'UTC')::date, duration, 1 + kind %% 5, '/page_' || kind %% 50, '/page_' || kind %% 70,
        array['/page_' || kind %% 50, '/page_' || kind %% 70], kind %% 5 = 0, coalesce(utm_source, 'Direct'), 'None',
        'None', utm_source, case when kind %% 3 > 0 then 'site_' || (kind %% 997)::integer %% 60 || '.example' end,
        '/page_' || kind %% 50, (array['desktop', 'mobile', 'tablet'])[1 + kind %% 3],
        (array['Chrome', 'Safari', 'Firefox', 'Edge'])[1 + kind %% 4],
        (array['Windows', 'macOS', 'iOS', 'Android', 'Linux'])[1 + kind %% 5], false, 'standard', kind %% 20 = 0,
        0, 0, %(events)s, 0, '{}', 0, 1, kind %% 2, 0, kind %% 4, kind %% 4, kind %% 4 > 0, false, kind %% 4,
        1000 * (kind %% 4), 0, 0, 0, '{}'
    from (
        select
            number, 'bench_app_' || number %% %(apps)s as app_id, kind,
            floor(power(kind / 268435456.0, 2) * %(sessions)s / %(apps)s / 3)::integer as visitor,
            %(as_of)s - (%(sessions)s - number) * (%(days)s * interval '1 day' / %(sessions)s) as started_at,
            case when kind %% 5 > 0 then kind %% 600 else 0 end as duration,
            case when kind %% 2 > 0 then 'source_' || kind %% 12 end as utm_source
        from (
            select number, ('x' || left(md5(number::text), 7))::bit(28)::integer as kind
            from generate_series(1, %(sessions)s) as number
        ) as numbered
    ) as made
    """,
    """
    insert into marts.fct_events (
        session_group, event_id, session_key, visitor_id, anonymous_id, app_id, event_name, event_role, retention_class,
        is_conversion, occurred_at, event_date, page, device_type, browser_name, os_name, is_bot, properties
    )
    select
        session_group, session_group || '-' || place, session_key, visitor_id, anonymous_id, app_id,
        'event_' || ((hashtext(session_group) & 1023) * place) %% 31, 'other', 'analytics', false,
        started_at + place * interval '1 second', ((started_at + place * interval '1 second') at time zone 'UTC')::date,
        entry_page, device_type, browser_name, os_name, false, '{"label": "made up"}'
    from marts.fct_sessions
    cross join generate_series(1, %(events)s) as place
    where session_group like 's:bench\\_%%'
    """,
    "analyze marts.fct_sessions, marts.fct_events",
)


def fill(server: Server, sessions: int = SESSIONS, apps: int = APPS, days: int = DAYS) -> None:
    """Made-up facts in a warehouse whose models are built, and what the functions read of them."""
    values = {"sessions": sessions, "apps": apps, "days": days, "as_of": AS_OF, "events": EVENTS_OF_SESSION}
    with connect(server) as connection:
        for statement in FILL:
            connection.execute(statement, values)
    build_whole(server, READ)
    with connect(server, autocommit=True) as connection:
        connection.execute("vacuum analyze")


def kinds_of_calls(sessions: int, apps: int) -> Iterator[tuple[str, float, str, Callable[[random.Random], list[Any]]]]:
    """Name of a row, most milliseconds, statement, and what makes the parameters of a call."""

    def app(chance: random.Random) -> str:
        return f"bench_app_{chance.randrange(apps)}"

    for function in ("summary", "trends", "events", "traffic_sources", "devices"):
        for days, most in ((7, SHORT), (30, SHORT), (90, LONG), (400, LONG)):
            statement = f"select marts.get_widget_{function}(%s, {days}, as_of => %s)"
            yield f"get_widget_{function}, {days} days", most, statement, lambda chance: [app(chance), AS_OF]
    for days, most in ((7, SHORT), (30, SHORT), (90, LONG)):
        statement = f"select marts.get_traffic_sources(%s, '{days}d', as_of => %s)"
        yield f"get_traffic_sources, {days} days", most, statement, lambda chance: [app(chance), AS_OF]
    yield (
        *("get_widget_active", SHORT, "select marts.get_widget_active(%s, %s)"),
        lambda chance: [app(chance), AS_OF - timedelta(minutes=chance.randrange(100_000))],
    )
    for function, rows, limit in (
        ("get_widget_sessions", sessions, 20),
        ("get_sessions", sessions, 50),
        ("get_events", sessions * EVENTS_OF_SESSION, 100),
    ):
        pages = max(rows // apps // limit, 1)
        statement = f"select marts.{function}(%s, %s, {limit}, %s)"
        yield f"{function}, first page of {limit}", PAGE, statement, lambda chance: [app(chance), 1, AS_OF]
        yield (
            *(f"{function}, any page of {limit}", PAGE, statement),
            lambda chance, pages=pages: [app(chance), chance.randint(1, pages), AS_OF],
        )
    visitors = sessions // apps // 3
    yield (
        *("get_user_profiles, 100 ids", PAGE, "select marts.get_user_profiles(%s, %s)"),
        lambda chance: [app(chance), [f"visitor_{chance.randrange(visitors)}" for _ in range(100)]],
    )
    yield (
        *("get_visitor_timeline", LONG, "select marts.get_visitor_timeline(%s, %s, as_of => %s)"),
        lambda chance: [app(chance), f"visitor_{chance.randrange(visitors)}", AS_OF],
    )


def milliseconds_of_calls(connection: psycopg.Connection, statement: str, parameters: Sequence[list[Any]]) -> float:
    """The 95th percentile of so many calls, which a few went before."""
    for call in islice(parameters, 10):
        connection.execute(statement, call)
    taken = sorted(timed(lambda call=call: connection.execute(statement, call).fetchone()) for call in parameters)
    return 1000 * taken[int(len(taken) * 0.95)]


def measure_endpoints() -> list[Measure]:
    """Each function at its usual arguments, over 1,000,000 visits of 20 apps in 400 days."""
    os.environ["TIDEMARK_AS_OF"] = AS_OF.isoformat()
    measures = []
    with database("tidemark_bench_endpoints", "template0") as server:
        with connect(server, autocommit=True) as connection:
            migrate(connection)
        refresh(server, quiet=True)
        fill(server)
        with connect(server, autocommit=True) as connection:
            connection.execute(f"set role {READER}")
            for name, most, statement, arguments in kinds_of_calls(SESSIONS, APPS):
                chance = random.Random(name)  # noqa: S311
                calls = [arguments(chance) for _ in range(CALLS)]
                measures.append(
                    Measure(f"{name}, p95", milliseconds_of_calls(connection, statement, calls), "ms", most)
                )
    return measures
