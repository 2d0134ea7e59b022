"""Bench rows on what new buckets of watched metrics cost: the same after ten times the history."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ingest.connection import Server, connect
from ingest.load import load_file
from ingest.migrate import migrate
from orchestration.bench_measure import Measure, timed
from orchestration.bench_refresh import copy_of, database
from orchestration.refresh import refresh

LAST_DAY = datetime(2026, 3, 1, tzinfo=timezone.utc)
# Both histories are longer than what a verdict looks back on, eight weeks.
DAYS, DAYS_OF_A_TENTH = 700, 70
SERIES = 20
# The best of so many turns: other work on the machine then tells on neither history alone.
TURNS = 3

# An hourly count with a daily rhythm, as closed days left it.
HISTORY = """
insert into history.closed_metric_values (metric, app_id, scope, scope_value, bucket_at, bucket_date, metric_value)
select
    'page_views', 'app_' || app, 'app', 'app_' || app, bucket_at, (bucket_at at time zone 'UTC')::date,
    jsonb_build_object(
        'grain_minutes', 60, 'observations', views, 'value', views,
        'parts', jsonb_build_array(
            jsonb_build_object('kind', 'page', 'name', '/', 'amount', views, 'measurements', views)
        )
    )
from generate_series(1, %(series)s) as app
cross join generate_series(
    %(last_day)s::timestamptz - %(days)s * interval '1 day', %(last_day)s::timestamptz - interval '1 hour',
    interval '1 hour'
) as bucket_at
cross join lateral (
    select 100 + 10 * extract(hour from bucket_at)::integer + (app * extract(epoch from bucket_at)::bigint / 3600) %% 7
) as made (views)
"""


def measure_anomalies(folder: Path) -> list[Measure]:
    """A refresh with a new hour of every series after a history, and after one of a tenth of it."""
    os.environ["TIDEMARK_AS_OF"] = (LAST_DAY + timedelta(hours=2)).isoformat()
    with watched(DAYS, folder) as long, watched(DAYS_OF_A_TENTH, folder) as short:
        after_long, after_short = [], []
        for _ in range(TURNS):
            for server, seconds in ((short, after_short), (long, after_long)):
                with copy_of(server) as copied:
                    seconds.append(refresh_seconds(copied, folder))
    buckets = f"a new hour of {SERIES} series after {DAYS} days"
    return [
        Measure(f"refresh with {buckets}, tests included", min(after_long), "s"),
        Measure(
            f"{buckets} over the same after {DAYS_OF_A_TENTH} days",
            min(after_long) / min(after_short),
            "ratio",
            1.3,
            at_most=True,
        ),
    ]


@contextmanager
def watched(days: int, folder: Path) -> Iterator[Server]:
    """A database in which every series has been watched for so many days."""
    with database(f"tidemark_bench_watched_{days}", "template0") as server:
        with connect(server, autocommit=True) as connection:
            migrate(connection)
            connection.execute(HISTORY, {"series": SERIES, "days": days, "last_day": LAST_DAY})
            connection.execute("update ops.horizon set horizon = %s", [LAST_DAY])
        # until a load has been refreshed, each refresh builds everything whole
        load_views(server, folder, range(40 * SERIES, 41 * SERIES))
        refresh(server, quiet=True)
        with connect(server, autocommit=True) as connection:
            connection.execute("vacuum analyze")
        yield server


def refresh_seconds(server: Server, folder: Path) -> float:
    """Seconds of a refresh in which every series gets a bucket."""
    load_views(server, folder, range(40 * SERIES))
    return timed(lambda: refresh(server, quiet=True))


def load_views(server: Server, folder: Path, numbers: range) -> None:
    """Page views of the hour after the history."""
    path = folder / "views.ndjson"
    path.write_text("".join(json.dumps(view(number)) + "\n" for number in numbers), encoding="utf-8")
    with connect(server) as connection:
        load_file(connection, path, stream="events")
    path.unlink()


def view(number: int) -> dict[str, object]:
    """A page view of the hour after the history."""
    return {
        "eventId": f"view_{number}", "eventName": "page_view", "funnelId": f"app_{1 + number % SERIES}",
        "sessionId": f"session_{number}", "pageUrl": "https://shop.example/",
        "timestamp": (LAST_DAY + timedelta(seconds=number)).isoformat(),
    }  # fmt: skip
