"""`make bench`: how fast the warehouse is, as ratios taken in one run and a few wall-clock times.

Machines differ and are noisy: compare the ratios. Writes `.tidemark/bench.json`, a list of
`{name, value, unit, goal, aim, holds}`; `goal` is what a release must hold, `aim` what is wanted.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from psycopg import sql
from rich.console import Console
from rich.table import Table

from ingest.connection import Server, connect, resolve
from ingest.load import load_file, load_paths
from ingest.migrate import migrate
from ingest.sample import AS_OF, write_sample
from ingest.server import home_folder
from orchestration.refresh import refresh

DATABASE = "tidemark_bench"
EVENTS = 200_000


@dataclass(frozen=True)
class Measure:
    """One row of the bench. `goal` and `aim` are bounds in `unit`; a ratio holds from below, seconds from above."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    aim: float | None = None

    @property
    def holds(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.unit == "ratio" else self.value <= self.goal


def bench() -> list[Measure]:
    """Measure everything in a database of its own, which is dropped afterwards."""
    with tempfile.TemporaryDirectory() as folder, bench_database() as server:
        return [*measure_load(server, Path(folder)), *measure_refresh(server, Path(folder))]


@contextmanager
def bench_database() -> Iterator[Server]:
    """An empty migrated database."""
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(DATABASE))
    maintenance = resolve("postgres")
    with connect(maintenance, autocommit=True) as connection:
        connection.execute(drop)
    server = resolve(DATABASE)
    try:
        with connect(server, autocommit=True) as connection:
            migrate(connection)
        yield server
    finally:
        with connect(maintenance, autocommit=True) as connection:
            connection.execute(drop)


def write_events(path: Path, count: int) -> None:
    """So many flat events of about 400 bytes."""
    chance = random.Random(1)  # noqa: S311
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(
                json.dumps(
                    {
                        "eventId": f"evt_{number:09}",
                        "eventName": chance.choice(("page_view", "button_clicked", "message_sent")),
                        "funnelId": f"app_{number % 3}",
                        "anonymousId": f"visitor_{chance.randrange(count // 20)}",
                        "sessionId": f"session_{number // 12}",
                        "timestamp": f"2026-03-{1 + number % 28:02}T{number // 28 % 24:02}:{number // 672 % 60:02}:00Z",
                        "pageUrl": f"https://shop.example/products/{chance.randrange(500)}?utm_source=google",
                        "pageTitle": f"Product {chance.randrange(500)} of our shop",
                        "referrer": "https://www.google.com/search",
                        "deviceType": "desktop",
                        "properties": {"position": chance.randrange(20), "label": "a label of some length"},
                    }
                )
                + "\n"
            )


def measure_load(server: Server, folder: Path) -> list[Measure]:
    """Rows per second of a load beside those of a bare COPY of the same rows into the same table."""
    path = folder / "events.ndjson"
    write_events(path, EVENTS)
    with connect(server) as connection:
        load_seconds = timed(lambda: load_file(connection, path))
        with connection.cursor() as cursor, cursor.copy("copy (select * from raw.events) to stdout") as copy:
            rendered = b"".join(bytes(block) for block in copy)
        connection.rollback()

        def bare_copy() -> None:
            with connection.cursor() as cursor, cursor.copy("copy raw.events from stdin") as copy:
                copy.write(rendered)
            connection.rollback()

        copy_seconds = timed(bare_copy)
        connection.execute("truncate raw.events, raw.rejects, raw.loads restart identity")
        connection.commit()
    return [
        Measure("load, events per second", EVENTS / load_seconds, "rows/s"),
        Measure("load over a bare COPY of the same rows", copy_seconds / load_seconds, "ratio", 0.75, 0.9),
    ]


def measure_refresh(server: Server, folder: Path) -> list[Measure]:
    """The sample's first refresh, one with nothing new, and one with a day's worth of new events."""
    os.environ["TIDEMARK_AS_OF"] = AS_OF.isoformat()
    sample = folder / "sample"
    write_sample(sample, seed=7, days=35, visitors=400)
    held_back = folder / "held_back"
    for stream in ("session_batches", "events", "llm_requests"):
        (held_back / stream).mkdir(parents=True)
        for last in sorted((sample / stream).glob("2026-03-31-*")):
            shutil.move(last, held_back / stream / last.name)
    with connect(server) as connection:
        load_paths(connection, [sample])
    first = timed(lambda: refresh(server, quiet=True))
    nothing = timed(lambda: refresh(server, quiet=True))
    with connect(server) as connection:
        load_paths(connection, [held_back])
    one_day = timed(lambda: refresh(server, quiet=True))
    return [
        Measure("first refresh of the sample, tests included", first, "s"),
        Measure("refresh with nothing new, tests included", nothing, "s", 12),
        Measure("refresh with one more day, tests included", one_day, "s"),
        Measure("first refresh over one with one more day", first / one_day, "ratio"),
    ]


def timed(work: Callable[[], object]) -> float:
    """Wall-clock seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Run the bench, print its table, write its file."""
    measures = bench()
    rows = [asdict(measure) | {"holds": measure.holds} for measure in measures]
    path = home_folder() / "bench.json"
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    table = Table(title="Bench", title_justify="left")
    for heading in ("name", "value", "unit", "goal", "aim", "holds"):
        table.add_column(heading, justify="left" if heading in ("name", "unit") else "right")
    for row in rows:
        value = f"{row['value']:,.2f}" if row["value"] < 1000 else f"{row['value']:,.0f}"
        holds = "" if row["holds"] is None else "yes" if row["holds"] else "no"
        table.add_row(row["name"], value, row["unit"], str(row["goal"] or ""), str(row["aim"] or ""), holds)
    console = Console(width=None if os.isatty(1) else 120)
    console.print(table)
    console.print(f"Written to {path}", highlight=False)


if __name__ == "__main__":
    main()
