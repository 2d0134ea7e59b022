"""Bench rows on what a refresh costs: with nothing new, with new events, and after ten times the history.

The history is written here, not by the sample: a site whose visitors come and go, so that a visitor's own history
stays what it is while the warehouse's grows. Its days are received one by one, each in its own partitions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random

import psycopg
from psycopg import sql

from ingest.connection import Server, connect, resolve
from ingest.load import load_file
from ingest.migrate import migrate
from orchestration.bench_build import CORE, bring_up_to_date
from orchestration.bench_measure import Measure, timed
from orchestration.purge import purge
from orchestration.refresh import refresh

# Records a day. `make bench BENCH=full` takes the greater number: 5 million after 400 days, which takes half an hour.
PER_DAY, PER_DAY_IN_FULL = 1_250, 12_500
DAYS, DAYS_OF_A_TENTH = range(400), range(360, 400)
NEW, MANY_NEW = 20_000, 120_000
# Times are the best of so many turns: other work on the machine then tells on neither history alone.
TURNS = 3
FIRST_DAY = datetime(2025, 1, 1, tzinfo=timezone.utc)
# A visitor comes back within so many days or never.
DAYS_A_VISITOR_RETURNS = 30
PAGES = [f"/products/{number}" for number in range(60)] + ["/", "/pricing", "/docs", "/contact"]
SOURCES = ["google", "newsletter", "partner"]
APPS = ["shop", "funnel", "widget"]
AGENTS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Version/17.4 Mobile Safari/604.1",
]


def measure_growth(folder: Path) -> list[Measure]:
    """What a refresh costs with so many new records after a history, and after one of a tenth of it."""
    per_day = PER_DAY_IN_FULL if os.environ.get("BENCH") == "full" else PER_DAY
    with built_history(folder, DAYS, per_day) as long, built_history(folder, DAYS_OF_A_TENTH, per_day) as short:
        after_long, after_short, nothing = [], [], []
        for _ in range(TURNS):
            with copy_of(short) as server:
                after_short.append(refresh_with(server, folder, NEW, per_day))
            with copy_of(long) as server:
                after_long.append(refresh_with(server, folder, NEW, per_day))
                nothing.append(timed(lambda server=server: refresh(server, quiet=True)))
        with copy_of(long) as server:
            many = refresh_with(server, folder, MANY_NEW, per_day)
        core = min(core_seconds_with(long, folder, MANY_NEW, per_day) for _ in range(TURNS))
        closing_long, closing_short = closing_seconds(long, DAYS), closing_seconds(short, DAYS_OF_A_TENTH)
    history = f"{len(DAYS) * per_day:,} of history"
    return [
        Measure(f"refresh with nothing new after {history}, tests included", min(nothing), "s", 6, 3),
        Measure(f"refresh with {NEW:,} new events after {history}, tests included", min(after_long), "s"),
        Measure(
            f"refresh with {NEW:,} new events after {history} over the same after a tenth of it",
            min(after_long) / min(after_short),
            "ratio",
            1.3,
            at_most=True,
        ),
        Measure(
            f"dbt's time for the core marts in a refresh with {MANY_NEW:,} new events after {history}",
            core,
            "s",
            12,
            8,
        ),
        Measure(f"refresh with {MANY_NEW:,} new events after {history}, tests included", many, "s", 12, 8),
        Measure(f"closing a day of {history}, the refresh after it included", closing_long, "s"),
        Measure(
            f"closing a day of {history} over the same of a tenth of it",
            closing_long / closing_short,
            "ratio",
            1.3,
            at_most=True,
        ),
    ]


def refresh_with(server: Server, folder: Path, count: int, per_day: int) -> float:
    """Seconds of a refresh with so many records of the day after the history."""
    load_new(server, folder, count, per_day)
    return timed(lambda: refresh(server, quiet=True))


def load_new(server: Server, folder: Path, count: int, per_day: int) -> None:
    """Load so many records of the day after the history."""
    with connect(server) as connection:
        load_day(connection, folder, DAYS[-1] + 1, list(day_of_events(DAYS[-1] + 1, count, per_day)))


def core_seconds_with(history: Server, folder: Path, count: int, per_day: int) -> float:
    """Seconds of dbt's for the core marts, and all they are made of, in a refresh with so many records."""
    with copy_of(history) as server:
        load_new(server, folder, count, per_day)
        return bring_up_to_date(server, CORE)


def closing_seconds(history: Server, days: range) -> float:
    """Seconds to close the first day of a history and to take it out of the marts, the best of so many turns."""
    second_day = (FIRST_DAY + timedelta(days=days[0] + 1)).date()

    def close(server: Server) -> None:
        purge(server, second_day)
        refresh(server, quiet=True)

    seconds = []
    for _ in range(TURNS):
        with copy_of(history) as server:
            seconds.append(timed(lambda server=server: close(server)))
    return min(seconds)


@contextmanager
def built_history(folder: Path, days: range, per_day: int) -> Iterator[Server]:
    """A database with so many days loaded and built, as autovacuum leaves it in time."""
    os.environ["TIDEMARK_AS_OF"] = iso(FIRST_DAY + timedelta(days=DAYS[-1] + 3))
    with database(f"tidemark_bench_{len(days)}_days", "template0") as server:
        with connect(server, autocommit=True) as connection:
            migrate(connection)
        load_history(server, folder, days, per_day)
        refresh(server, quiet=True)
        with connect(server, autocommit=True) as connection:
            connection.execute("vacuum analyze")
        yield server


@contextmanager
def copy_of(server: Server) -> Iterator[Server]:
    """A copy of a database, always under the same name: dbt parses the project anew for another one."""
    with database("tidemark_bench_copy", server.database) as copied:
        yield copied


@contextmanager
def database(name: str, template: str) -> Iterator[Server]:
    maintenance = resolve("postgres")
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
    create = sql.SQL("create database {} template {} strategy file_copy").format(*map(sql.Identifier, (name, template)))
    try:
        with connect(maintenance, autocommit=True) as connection:
            connection.execute(drop)
            connection.execute(create)
        yield resolve(name)
    finally:
        with connect(maintenance, autocommit=True) as connection:
            connection.execute(drop)


@dataclass(frozen=True)
class Person:
    """Somebody who came first on a day."""

    day: int
    number: int

    @property
    def anonymous_id(self) -> str:
        return f"visitor-{self.day}-{self.number}"

    @property
    def user_id(self) -> str | None:
        """One in eight has an account."""
        return f"user-{self.day}-{self.number}" if self.number % 8 == 0 else None


def day_of_events(day: int, count: int, per_day: int) -> Iterator[tuple[str, list[str]]]:
    """The sessions of a day until they have `count` records: (stream, lines) each, the same for the same arguments.

    `per_day` is how many records the days before have: it says who may come back.
    """
    chance = Random(f"{day} {count}")  # noqa: S311
    newcomers, written, session = 0, 0, 0
    while written < count:
        if chance.random() < 0.6:
            newcomers += 1
            person = Person(day, newcomers)
        else:
            person = Person(day - chance.randint(1, DAYS_A_VISITOR_RETURNS), chance.randint(1, per_day // 16))
        session += 1
        start = FIRST_DAY + timedelta(days=day, seconds=chance.randrange(82_800))
        key = f"{day}-{count}-{session}"
        kind = chance.random()
        if kind < 0.8:
            streams = [("events", web_session(chance, person, key, start, names_session=kind > 0.04))]
        else:
            streams = [
                ("session_batches", batch_session(chance, person, key, start)),
                ("llm_requests", chat_requests(chance, person, key, start)),
            ]
        for stream, lines in streams:
            if chance.random() < 0.01:
                lines.append(lines[-1])
            written += len(lines)
            yield stream, lines


def web_session(chance: Random, person: Person, key: str, start: datetime, *, names_session: bool) -> list[str]:
    """Product events of one visit, of a visitor who may sign in halfway."""
    count = chance.randint(5, 15)
    signs_in = person.user_id is not None and chance.random() < 0.5
    app, agent = APPS[person.number % 3], AGENTS[person.number % 2]
    lines = []
    for number in range(count):
        page = chance.choice(PAGES)
        landing = f"?utm_source={chance.choice(SOURCES)}&utm_medium=cpc" if number == 0 else ""
        name = chance.choice(("page_view", "page_view", "button_clicked", "message_sent"))
        record = {
            "eventId": f"e-{key}-{number}",
            "eventName": "purchase" if number == count - 1 and number == 14 else name,
            "funnelId": app,
            "anonymousId": person.anonymous_id,
            "timestamp": iso(start + timedelta(seconds=40 * number)),
            "pageUrl": f"https://shop.example{page}{landing}",
            "pageTitle": f"Our {page}",
            "referrer": "https://www.google.com/search",
            "userAgent": agent,
            "properties": {"position": number, "label": "a label of some length"},
        }
        if names_session:
            record["sessionId"] = f"s-{key}"
        if signs_in and number > count // 2:
            record["userId"] = person.user_id
        lines.append(json.dumps(record))
    return lines


def batch_session(chance: Random, person: Person, key: str, start: datetime) -> list[str]:
    """Snapshots of one session batch, each whole."""
    pages = [chance.choice(PAGES) for _ in range(chance.randint(2, 8))]
    batch_id = f"{chance.getrandbits(128):032x}"
    batch_id = f"{batch_id[:8]}-{batch_id[8:12]}-4{batch_id[13:16]}-8{batch_id[17:20]}-{batch_id[20:]}"
    lines = []
    for seen in range(1, len(pages) + 1, 2):
        record = {
            "sessionId": f"anon-{person.anonymous_id}" if person.user_id is None else f"login-{key}",
            "batchId": batch_id,
            "batchSeq": 0,
            "userId": person.user_id,
            "startedAt": iso(start),
            "pathSequence": pages[:seen],
            "pathTimings": [30_000 * place for place in range(seen)],
            "interactionSummary": {"click": seen, "chat_message_sent": seen // 2},
            "goalEvents": {"signup_completed": iso(start + timedelta(seconds=55))} if seen > 2 else {},
            "endedAt": iso(start + timedelta(seconds=30 * seen)),
        }
        lines.append(json.dumps(record))
    return lines


def chat_requests(chance: Random, person: Person, key: str, start: datetime) -> list[str]:
    """LLM requests of a session."""
    return [
        json.dumps(
            {
                "requestId": f"r-{key}-{number}",
                "sessionId": f"anon-{person.anonymous_id}" if person.user_id is None else f"login-{key}",
                "userId": person.user_id,
                "modelId": "gpt-4",
                "inputTokens": chance.randint(50, 500),
                "outputTokens": chance.randint(50, 500),
                "cost": "0.0123",
                "timestamp": iso(start + timedelta(seconds=20 + 30 * number)),
            }
        )
        for number in range(2)
    ]


def iso(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def load_history(server: Server, folder: Path, days: range, per_day: int) -> int:
    """Load so many days, each a load per stream received the morning after; returns how many records they hold.

    One session in thirty comes with a later day's load, up to three days late.
    """
    late = Random(1)  # noqa: S311
    waiting: dict[int, list[tuple[str, list[str]]]] = {}
    loaded = 0
    with connect(server) as connection:
        prepare(connection, days)
        for day in days:
            sessions = waiting.pop(day, [])
            for session in day_of_events(day, per_day, per_day):
                if late.random() < 1 / 30:
                    waiting.setdefault(day + late.randint(1, 3), []).append(session)
                else:
                    sessions.append(session)
            loaded += load_day(connection, folder, day, sessions)
    return loaded


def prepare(connection: psycopg.Connection, days: range) -> None:
    """Partitions for the days, and a ledger that takes the time of receipt from a setting."""
    # A transaction for a few days: every table it makes is a lock it holds.
    for day in range(days[0], days[-1] + 10, 10):
        connection.execute("select ops.make_partitions(10, %s)", [(FIRST_DAY + timedelta(days=day)).date()])
        connection.commit()
    connection.execute(
        "alter table raw.loads alter started_at"
        " set default coalesce(nullif(current_setting('bench.received_at', true), '')::timestamptz, clock_timestamp())"
    )
    connection.commit()


def load_day(connection: psycopg.Connection, folder: Path, day: int, sessions: list[tuple[str, list[str]]]) -> int:
    """Load sessions as received on the morning after a day, a file per stream; returns how many records they are."""
    received_at = iso(FIRST_DAY + timedelta(days=day + 1, hours=1))
    connection.execute("select set_config('bench.received_at', %s, false)", [received_at])
    connection.commit()
    loaded = 0
    for stream in ("session_batches", "events", "llm_requests"):
        lines = [line for told, some in sessions if told == stream for line in some]
        if lines:
            path = folder / f"{stream}-{day}.ndjson"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            loaded += load_file(connection, path, stream=stream).loaded
            path.unlink()
    return loaded
