"""What the bench builds: a stream of events at scale, and the least that hand-written SQL could do with it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from orchestration.bench_measure import timed
from orchestration.refresh import dbt_arguments, project_parsed, refreshing, variables_set

FIRST_DAY, DAYS = datetime(2026, 3, 1, tzinfo=timezone.utc), 28
EVENTS_OF_SESSION = (12, 25)
SESSIONS_OF_VISITOR = 3
PAGES = (*(f"/products/{number}" for number in range(300)), "/", "/pricing", "/help", "/checkout")
AGENTS = tuple(
    f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 {end}"
    for version in range(110, 140)
    for system, end in (
        ("Windows NT 10.0; Win64; x64", "Safari/537.36"),
        ("Macintosh; Intel Mac OS X 10_15_7", "Safari/537.36"),
        ("Linux; Android 14; Pixel 8", "Mobile Safari/537.36"),
    )
)
REFERRERS = ("https://www.google.com/search", "https://news.example/launch", "https://www.bing.com/")
CAMPAIGNS = (
    "utm_source=google&utm_medium=cpc&utm_campaign=spring",
    "utm_source=newsletter&utm_medium=email&utm_campaign=march",
    "utm_source=linkedin&utm_medium=social",
)
CLICKS = ("cta_clicked", "button_clicked", "tab_changed", "filter_applied")

# The marts of visits, facts, visitors and days, and all they are made of.
CORE = "+path:models/marts/core"
NO_TESTS = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")

# One pass over raw for the visits, one over those for the days: no cleaning, no identity, no duplicates looked for.
FLOOR = (
    """
    create table floor.sessions as
    with timed as (
        select
            *,
            occurred_at - lag(occurred_at) over (partition by session_group order by occurred_at)
            >= interval '30 minutes' as follows_gap
        from raw.events
    ),
    numbered as (
        select *, count(*) filter (where follows_gap) over (partition by session_group order by occurred_at) as number
        from timed
    )
    select
        session_group,
        min(app_id) as app_id,
        coalesce(max(user_id), max(anonymous_id), session_group) as visitor,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) as events,
        count(*) filter (where event_name = 'page_view') as page_views,
        (array_agg(page_url order by occurred_at) filter (where event_name = 'page_view'))[1] as entry_page,
        (array_agg(page_url order by occurred_at desc) filter (where event_name = 'page_view'))[1] as exit_page,
        (array_agg(utm_source order by occurred_at) filter (where utm_source is not null))[1] as source,
        (array_agg(referrer order by occurred_at) filter (where referrer is not null))[1] as referrer,
        bool_or(is_conversion) as converted,
        sum(revenue) as revenue
    from numbered
    group by session_group, number
    """,
    """
    create table floor.daily as
    select
        app_id,
        (started_at at time zone 'UTC')::date as day,
        count(*) as sessions,
        count(distinct visitor) as visitors,
        sum(page_views) as page_views,
        avg(ended_at - started_at) as mean_duration,
        count(*) filter (where converted) as converted,
        sum(revenue) as revenue
    from floor.sessions
    group by app_id, day
    """,
)


def build_floor(server: Server, statements: Sequence[str] = FLOOR) -> None:
    """Tables of the schema `floor` straight from raw, by hand, on one connection."""
    with connect(server) as connection:
        connection.execute("drop schema if exists floor cascade")
        connection.execute("create schema floor")
        for statement in statements:
            connection.execute(statement)


def write_sessions(path: Path, count: int) -> None:
    """So many events, in the order they happen day by day, in sessions such as browsers send.

    12 to 25 events a session and three sessions a visitor. Every second visitor's events carry no session id, every
    tenth visitor signs in, two in five sessions come from a campaign.
    """
    chance = random.Random(1)  # noqa: S311
    visitors = count // (SESSIONS_OF_VISITOR * sum(EVENTS_OF_SESSION) // 2)
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for day in range(DAYS):
            wanted = count * (day + 1) // DAYS - written
            events: list[dict[str, Any]] = []
            while len(events) < wanted:
                start = FIRST_DAY + timedelta(days=day, seconds=chance.randrange(6 * 3600, 22 * 3600))
                events += session(chance, chance.randrange(visitors), start)
            written += wanted
            events[wanted:] = []
            events.sort(key=lambda event: event["timestamp"])
            file.writelines(json.dumps(event) + "\n" for event in events)


def session(chance: random.Random, visitor: int, start: datetime) -> Iterator[dict[str, Any]]:
    """The events of one session; whatever a visitor is (app, client, address) depends on the visitor's number."""
    at, page = start, chance.choice(PAGES)
    common = {
        "funnelId": f"app_{visitor % 3}",
        "anonymousId": f"visitor_{visitor:07}",
        "userAgent": AGENTS[visitor % len(AGENTS)],
        "ipAddress": f"203.0.{visitor // 250 % 250}.{visitor % 250}",
    }
    if visitor % 2:
        common["sessionId"] = f"session_{chance.getrandbits(48):012x}"
    if visitor % 10 == 0 and chance.random() < 0.5:
        common["userId"] = f"user_{visitor:07}"
    if chance.random() < 0.3:
        common["referrer"] = chance.choice(REFERRERS)
    campaign = "?" + chance.choice(CAMPAIGNS) if chance.random() < 0.4 else ""
    for place in range(chance.randint(*EVENTS_OF_SESSION)):
        event = {
            "eventId": f"{chance.getrandbits(64):016x}",
            "eventName": "page_view" if place == 0 or chance.random() < 0.6 else chance.choice(CLICKS),
            **common,
            "timestamp": at.isoformat(),
        }
        if event["eventName"] == "page_view":
            page = page if place == 0 else chance.choice(PAGES)
            event |= {"pageTitle": f"Our shop: {page}"}
        else:
            event |= {"properties": {"position": chance.randrange(20), "label": "a label of some length"}}
        if place > 8 and chance.random() < 0.005:
            event |= {"eventName": "purchase_completed", "isConversion": True, "revenue": chance.randrange(5, 300)}
        yield event | {"pageUrl": f"https://shop.example{page}{campaign}"}
        at, campaign = at + timedelta(seconds=chance.randrange(3, 240)), ""


def build_whole(server: Server, selection: str) -> float:
    """Build the selected models whole, up to every load committed; returns the seconds dbt took, tests left out."""
    return dbt_seconds(server, ["build", "--full-refresh", "--select", selection, *NO_TESTS])


def bring_up_to_date(server: Server, selection: str) -> float:
    """Refresh the selected tables up to every load committed; returns the seconds dbt took, tests left out."""
    return dbt_seconds(server, ["run", "--select", selection, "--exclude", "config.materialized:view"])


def dbt_seconds(server: Server, arguments: Sequence[str]) -> float:
    """Seconds of a call of dbt within a refresh, its parsing and the refresh's own work left out.

    Raises:
        TidemarkError: the project does not parse, or a model failed.
    """
    # as a refresh calls it
    options = [*dbt_arguments("prod"), "--no-write-json", "--quiet"]
    with (
        variables_set(server.environment()),
        project_parsed(options) as (runner, manifest),
        refreshing(server, "prod", manifest) as run,
        variables_set(run.environment(server)),
    ):
        began = time.perf_counter()
        built = runner.invoke([*arguments, *options])
        seconds = time.perf_counter() - began
        if not built.success:
            raise TidemarkError(f"The build failed: {built.exception or 'see what dbt says above'}")
    return seconds


def build_and_floor(server: Server, selection: str, statements: Sequence[str], turns: int) -> tuple[float, float]:
    """Seconds of a whole build and of the hand-written floor below it, in turns, the best of each."""
    floors, builds = [], []
    for _ in range(turns):
        floors.append(timed(lambda: build_floor(server, statements)))
        builds.append(build_whole(server, selection))
    return min(builds), min(floors)
