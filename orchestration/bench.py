"""`make bench`: how fast the warehouse is, as ratios taken in one run and a few wall-clock times.

Machines differ and are noisy: compare the ratios. Writes `.tidemark/bench.json`, a list of
`{name, value, unit, goal, aim, holds}`; `goal` is what a release must hold, `aim` what is wanted.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from ingest.connection import Server, connect, resolve
from ingest.errors import TidemarkError
from ingest.load import load_file, load_paths
from ingest.migrate import migrate
from ingest.sample import AS_OF, write_sample
from ingest.server import home_folder
from ingest.streams.registry import NAMES
from orchestration.bench_anomalies import measure_anomalies
from orchestration.bench_build import CORE, FLOOR, build_and_floor, build_whole, write_sessions
from orchestration.bench_costs import measure_costs
from orchestration.bench_endpoints import measure_endpoints
from orchestration.bench_measure import Measure, best_of_turns, timed
from orchestration.bench_refresh import measure_growth
from orchestration.refresh import refresh

DATABASE = "tidemark_bench"
# Events of the files that are loaded, each about 400 bytes.
EVENTS, EVENTS_OF_TWO = 1_000_000, 200_000
SMALL_FILE, LARGE_FILE = 100_000_000, 1_000_000_000
# Times are the best of so many runs, the runs of what is compared in turns: other work on the machine then
# tells on neither side alone. Two loads at once leave no core idle on a small machine: it takes more runs there.
RUNS, RUNS_OF_TWO = 3, 5
# About 800,000 rows of raw, all streams together.
VISITORS_OF_LARGE_SAMPLE = 8_000
COPY_BLOCK = 128 * 1024


def bench() -> list[Measure]:
    """Measure everything in databases of their own, which are dropped afterwards."""
    measures: list[Measure] = []
    with tempfile.TemporaryDirectory() as folder:
        with bench_database() as server:
            measures += [*measure_load(server, Path(folder)), *measure_refresh(server, Path(folder))]
        # each in a database of its own: a first build is what is measured
        with bench_database() as server:
            measures += measure_build(server, Path(folder))
        with bench_database() as server:
            measures.append(measure_large_sample(server, Path(folder)))
        measures += measure_costs(Path(folder))
        measures += measure_endpoints()
        measures += measure_anomalies(Path(folder))
        measures += measure_growth(Path(folder))
    return measures


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
    """A load's speed beside that of a bare COPY, its memory, and two loads at once."""
    events = folder / "events.ndjson"
    write_events(events, EVENTS)
    try:
        return [
            *measure_copy(server, events, folder / "events.copy"),
            *measure_memory(server, events, folder / "events-repeated.ndjson"),
            measure_two(server, events, folder),
        ]
    finally:
        with connect(server) as connection:
            empty(connection)


def measure_copy(server: Server, events: Path, rendered: Path) -> list[Measure]:
    """Rows per second of a load beside those of a bare COPY of the same rows into the same table."""
    with connect(server) as connection:
        load_file(connection, events)
        with (
            connection.cursor() as cursor,
            cursor.copy("copy (select * from raw.events) to stdout") as copy,
            rendered.open("wb") as file,
        ):
            for block in copy:
                file.write(block)
        connection.rollback()

        def bare_copy() -> None:
            with (
                rendered.open("rb") as file,
                connection.cursor() as cursor,
                cursor.copy("copy raw.events from stdin") as copy,
            ):
                while block := file.read(COPY_BLOCK):
                    copy.write(block)
            connection.commit()

        copy_seconds, load_seconds = best_of_turns(
            (bare_copy, lambda: load_file(connection, events)), RUNS, lambda: empty(connection)
        )
    rendered.unlink()
    return [
        Measure("load, events per second", EVENTS / load_seconds, "rows/s"),
        Measure("load over a bare COPY of the same rows", copy_seconds / load_seconds, "ratio", 0.75, 0.9),
    ]


def measure_memory(server: Server, events: Path, repeated: Path) -> list[Measure]:
    """The peak memory of a process that loads a large file, alone and over that for a small one."""
    peaks = []
    for size in (SMALL_FILE, LARGE_FILE):
        repeat_lines(events, repeated, size)
        with loading_process(server) as process:
            peaks.append(load_in(process, repeated)())
        with connect(server) as connection:
            empty(connection)
    repeated.unlink()
    small, large = peaks
    return [
        Measure("peak memory of a load of 1 GB", large / 1_000_000, "MB", 200),
        Measure("peak memory of a load of 1 GB over that of 100 MB", large / small, "ratio", 1.1, at_most=True),
    ]


def measure_two(server: Server, events: Path, folder: Path) -> Measure:
    """Two files in two processes: the time one after the other over the time at once."""
    first, second = folder / "events-first.ndjson", folder / "events-second.ndjson"
    with events.open("rb") as lines, first.open("wb") as one, second.open("wb") as other:
        for _ in range(EVENTS_OF_TWO):
            one.write(next(lines))
            other.write(next(lines))
    with connect(server) as connection, loading_process(server) as process, loading_process(server) as companion:

        def in_turn() -> None:
            load_in(process, first)()
            load_in(companion, second)()

        def at_once() -> None:
            wait_first, wait_second = load_in(process, first), load_in(companion, second)
            wait_first()
            wait_second()

        in_turn_seconds, at_once_seconds = best_of_turns((in_turn, at_once), RUNS_OF_TWO, lambda: empty(connection))
    return Measure("two files one after the other over both at once", in_turn_seconds / at_once_seconds, "ratio", 1.0)


def empty(connection: psycopg.Connection) -> None:
    """Take every event and load out of the database."""
    connection.execute("truncate raw.events, raw.rejects, raw.loads restart identity cascade")
    connection.commit()


def repeat_lines(source: Path, target: Path, size: int) -> None:
    """Write the lines of a file, over and over, until so many bytes are written."""
    with target.open("wb") as file:
        while file.tell() < size:
            with source.open("rb") as lines:
                while file.tell() < size and (some := lines.readlines(COPY_BLOCK)):
                    file.writelines(some)


@contextmanager
def loading_process(server: Server) -> Iterator[subprocess.Popen[str]]:
    """A process that is connected and waits for files to load."""
    command = [sys.executable, "-m", "orchestration.load_process"]
    environment = os.environ | server.environment()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        if process.stdout.readline() != "ready\n":
            raise TidemarkError("the process that was to load a file did not start")
        yield process
        process.stdin.close()


def load_in(process: subprocess.Popen[str], path: Path) -> Callable[[], int]:
    """Begin a load in a process; the call waits for its end and gives the process's peak memory in bytes."""
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    return lambda: int(process.stdout.readline())


def measure_refresh(server: Server, folder: Path) -> list[Measure]:
    """The sample's first refresh, one with nothing new, and one with a day's worth of new events."""
    os.environ["TIDEMARK_AS_OF"] = AS_OF.isoformat()
    sample = folder / "sample"
    write_sample(sample, seed=7, days=35, visitors=400)
    held_back = folder / "held_back"
    for stream in NAMES:
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


def measure_build(server: Server, folder: Path) -> list[Measure]:
    """A first build of the core marts on a stream of events, alone and over the least hand-written SQL could do."""
    events = folder / "events-of-sessions.ndjson"
    write_sessions(events, EVENTS)
    with connect(server) as connection:
        load_file(connection, events, stream="events")
    events.unlink()
    build, floor = build_and_floor(server, CORE, FLOOR, RUNS)
    return [
        Measure("whole build of the core marts on 1 million events", build, "s"),
        Measure("the same over two hand-written tables", build / floor, "ratio", 10, 6, at_most=True),
    ]


def measure_large_sample(server: Server, folder: Path) -> Measure:
    """The first build of every model on a large sample, all streams together."""
    sample = folder / "large_sample"
    write_sample(sample, seed=7, days=35, visitors=VISITORS_OF_LARGE_SAMPLE)
    with connect(server) as connection:
        load_paths(connection, [sample])
        rows = sum(
            connection.execute(sql.SQL("select count(*) from raw.{}").format(sql.Identifier(stream))).fetchone()[0]
            for stream in NAMES
        )
    return Measure(f"whole build of every model on a sample of {rows:,} rows", build_whole(server, "*"), "s")


def main() -> None:
    """Run the bench, print its table, write its file."""
    measures = bench()
    rows = [measure.as_row() for measure in measures]
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
