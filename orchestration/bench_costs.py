"""Bench rows on what LLM requests cost to price and attribute: whole, and a few more after a history."""

from __future__ import annotations

import json
import os
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ingest.connection import Server, connect
from ingest.load import load_file
from ingest.migrate import migrate
from orchestration.bench_build import build_and_floor
from orchestration.bench_measure import Measure, timed
from orchestration.bench_refresh import copy_of, database
from orchestration.refresh import refresh

REQUESTS, NEW = 1_000_000, 10_000
FIRST_DAY, DAYS = datetime(2026, 3, 1, tzinfo=timezone.utc), 28
REQUESTS_OF_SESSION, SESSIONS_OF_USER = 5, 20
MODELS = (
    ("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-3-5-haiku-latest"), ("google", "gemini-2.5-pro"), ("google", "gemini-2.5-flash"),
)  # fmt: skip
FEATURES = ("chat", "search", "summary", "code", "translate", "agent", "title", "tags")
# The best of so many turns: other work on the machine then tells on neither history alone.
TURNS = 3

# Every mart of costs, and all they are made of.
COSTS = "+path:models/marts/llm"

# Each request at its model's prices, summed by day: no sessions, nothing told twice, one price for all time.
FLOOR = """
create table floor.cost_daily as
select
    requests.occurred_at::date as day,
    requests.model,
    count(*) as requests,
    sum(
        (requests.input_tokens - requests.cached_tokens) * prices.input
        + requests.cached_tokens * prices.cached
        + requests.output_tokens * prices.output
    ) / 1000000 as cost_usd
from raw.llm_requests as requests
inner join (
    values
    ('gpt-4o', 2.5, 1.25, 10),
    ('gpt-4o-mini', 0.15, 0.075, 0.6),
    ('claude-sonnet-4-5-20250929', 3, 0.3, 15),
    ('claude-3-5-haiku-latest', 0.8, 0.08, 4),
    ('gemini-2.5-pro', 1.25, 0.125, 10),
    ('gemini-2.5-flash', 0.3, 0.03, 2.5)
) as prices (model, input, cached, output) using (model)
group by 1, 2
"""


def write_requests(path: Path, first: int, count: int, days: range) -> None:
    """So many requests numbered from `first`, spread over days in the order of their time, five to a session."""
    chance = random.Random(first)  # noqa: S311
    with path.open("w", encoding="utf-8") as file:
        for number in range(first, first + count):
            session = number // REQUESTS_OF_SESSION
            provider, model = MODELS[session % len(MODELS)]
            whole = chance.randint(200, 20_000)
            begun = days[0] + len(days) * (number - first) / count
            record = {
                "requestId": f"req_{number:09}",
                "sessionId": f"session_{session:08}",
                "userId": f"user_{session // SESSIONS_OF_USER:06}",
                "appId": f"app_{session % 3}",
                "workspaceId": f"workspace_{session % 200}",
                "teamId": f"team_{session % 20}",
                "featureId": FEATURES[session % len(FEATURES)],
                "provider": provider,
                "modelId": model,
                "inputTokens": whole,
                "cachedTokens": chance.randrange(whole) if number % 3 == 0 else 0,
                "outputTokens": chance.randint(10, 2_000),
                "inputIncludesCached": True,
                "responseTime": chance.randint(300, 9_000),
                "timestamp": (FIRST_DAY + timedelta(days=begun)).isoformat(),
            }
            file.write(json.dumps(record) + "\n")


def measure_costs(folder: Path) -> list[Measure]:
    """A first build of all marts of costs over one hand-written statement; new requests after ten times the history."""
    os.environ["TIDEMARK_AS_OF"] = (FIRST_DAY + timedelta(days=DAYS + 2)).isoformat()
    with (
        database("tidemark_bench_requests", "template0") as long,
        database("tidemark_bench_fewer_requests", "template0") as short,
    ):
        load_requests(long, folder, REQUESTS)
        build, floor = build_and_floor(long, COSTS, [FLOOR], TURNS)
        load_requests(short, folder, REQUESTS // 10)
        growth = refresh_seconds(long, folder) / refresh_seconds(short, folder)
    return [
        Measure(f"whole build of the cost marts on {REQUESTS:,} LLM requests", build, "s"),
        Measure("the same over one hand-written statement", build / floor, "ratio", 30, 15, at_most=True),
        Measure(
            f"refresh with {NEW:,} new requests after {REQUESTS:,} over the same after a tenth of them",
            growth,
            "ratio",
            1.3,
            at_most=True,
        ),
    ]


def load_requests(server: Server, folder: Path, count: int) -> None:
    """A migrated database with so many requests."""
    path = folder / "requests.ndjson"
    write_requests(path, 0, count, range(DAYS))
    with connect(server, autocommit=True) as connection:
        migrate(connection)
    with connect(server) as connection:
        load_file(connection, path, stream="llm_requests")
    path.unlink()


def refresh_seconds(server: Server, folder: Path) -> float:
    """Seconds of a refresh with new requests of the day after, tests included, the best of so many turns."""
    refresh(server, quiet=True)
    with connect(server, autocommit=True) as connection:
        connection.execute("vacuum analyze")
    path = folder / "new-requests.ndjson"
    write_requests(path, REQUESTS, NEW, range(DAYS, DAYS + 1))
    seconds = []
    for _ in range(TURNS):
        with copy_of(server) as copied:
            with connect(copied) as connection:
                load_file(connection, path, stream="llm_requests")
            seconds.append(timed(lambda server=copied: refresh(server, quiet=True)))
    path.unlink()
    return min(seconds)
