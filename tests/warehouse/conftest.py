"""Whole warehouses in throw-away databases: load records, refresh, read the marts."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ingest.connection import Server, connect
from ingest.load import load_file, load_paths
from ingest.sample import AS_OF, write_sample
from orchestration import refresh as refreshing
from orchestration.refresh import Refresh, refresh
from tests.conftest import create_database, drop_database

STREAMS = ("session_batches", "events", "llm_requests", "identifies")
BUILT_SCHEMAS = ("intermediate", "marts")
# They describe loads and refreshes: a record sent twice counts twice, what was told of a budget once stays told.
OF_LOADS = ("marts.agg_kept_out", "marts.fct_budget_alerts", "marts.fct_load_quality", "marts.agg_data_quality")
# A view with a row for each time an event was sent, and when: its distinct rows without that are compared.
AS_OFTEN_AS_SENT = ("intermediate.int_enriched_events",)

# Partitions are by the day received: as if every record had come an hour after it was made.
AGE = """
with aged as (
    update raw.{stream} set received_at = {time} + interval '1 hour' returning 1
)
select count(*) from aged
"""
DAYS = """
with days as (
    insert into ops.group_days
    select distinct session_group, (received_at at time zone 'UTC')::date from raw.{stream}
    on conflict do nothing
    returning 1
)
select count(*) from days
"""
TIMES = {
    "events": "occurred_at",
    "llm_requests": "occurred_at",
    "session_batches": "coalesce(started_at, (llm_interactions -> 0 ->> 'timestamp')::timestamptz)",
}


def without_server_variables() -> dict[str, str]:
    """The environment for a child process, but for what would name another server or clock."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PG") and name not in ("DATABASE_URL", "TIDEMARK_AS_OF", "TIDEMARK_REFRESH_ID")
    }


@contextlib.contextmanager
def copied_project(folder: Path) -> Iterator[Path]:
    """A copy of the project in `folder`, to be edited: refreshes build from it meanwhile, and so does a process that
    is started there. Of the project's tests it has the generic ones alone, the others would only take time."""
    without_caches = shutil.ignore_patterns("__pycache__")
    for name in ("models", "macros", "functions", "seeds", "ingest", "orchestration", "tests/dbt/generic"):
        shutil.copytree(refreshing.PROJECT_FOLDER / name, folder / name, ignore=without_caches)
    for name in ("dbt_project.yml", "profiles.yml", "selectors.yml"):
        shutil.copy(refreshing.PROJECT_FOLDER / name, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refreshing, "PROJECT_FOLDER", folder)
        patch.setenv("DBT_TARGET_PATH", str(folder / "target"))
        yield folder


# dbt parses the whole project anew, which takes it seconds, when the database is not named as it was the last time.
NAME_WHILE_REFRESHED = f"tidemark_test_refreshed_{os.getpid()}"


@contextlib.contextmanager
def under_one_name(server: Server) -> Iterator[Server]:
    """The same database under a name that all have in turn; under its own if somebody is connected."""
    rename = sql.SQL("alter database {} rename to {}")
    own, common = sql.Identifier(server.database), sql.Identifier(NAME_WHILE_REFRESHED)
    with contextlib.closing(connect(server.with_database("postgres"), autocommit=True)) as connection:
        try:
            connection.execute(rename.format(own, common))
        except psycopg.errors.ObjectInUse:
            yield server
            return
        try:
            yield server.with_database(NAME_WHILE_REFRESHED)
        finally:
            connection.execute(rename.format(common, own))


class Warehouse:
    """A migrated database with the project's models on top."""

    def __init__(self, server: Server, folder: Path, files: int = 0) -> None:
        self.server = server
        self.folder = folder
        self.files = files

    def load(self, stream: str, lines: Sequence[bytes]) -> None:
        """Load lines as one file of a stream."""
        self.files += 1
        path = self.folder / f"{stream}-{self.files}.ndjson"
        path.write_bytes(b"\n".join(lines) + b"\n")
        with contextlib.closing(connect(self.server)) as connection:
            load_file(connection, path, stream=stream)

    def refresh(self, as_of: datetime | str = AS_OF, *, check_all: bool = False) -> Refresh:
        """Refresh production as of a fixed time; every test may run after it, not only the hourly ones."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIDEMARK_AS_OF", str(as_of))
            for name in [name for name in os.environ if name.startswith("PG")]:
                patch.delenv(name)
            with under_one_name(self.server) as server:
                return refresh(server, quiet=True, check_all=check_all)

    def query(self, statement: str, *parameters: object) -> list[tuple]:
        """Rows of a statement."""
        with contextlib.closing(connect(self.server, autocommit=True)) as connection:
            return connection.execute(statement, parameters).fetchall()

    def relations(self) -> list[str]:
        """Every relation the models built but those that describe loads, schema-qualified."""
        return [
            f"{schema}.{name}"
            for schema, name in self.query(
                """
                select table_schema, table_name from information_schema.tables
                where table_schema = any(%s) order by 1, 2
                """,
                list(BUILT_SCHEMAS),
            )
            if f"{schema}.{name}" not in OF_LOADS
        ]

    def contents(self) -> dict[str, list[str]]:
        """Relation → its rows as text, sorted: equal contents are equal lists."""
        return {
            relation: sorted(
                row
                for (row,) in self.query(
                    f"select distinct (to_jsonb(t) - 'received_at')::text from {relation} as t"
                    if relation in AS_OFTEN_AS_SENT
                    else f"select t::text from {relation} as t"
                )
            )
            for relation in self.relations()
        }


def kill_at_a_random_moment(warehouse: Warehouse, command: Sequence[str], longest: float, **environment: str) -> None:
    """Start a command on a warehouse and kill it with SIGKILL within so many seconds, unless it has ended by then;
    returns when the database has noticed."""
    seconds = random.uniform(0.3, longest)
    print(f"killed after {seconds:.2f} s")
    running = subprocess.Popen(
        [sys.executable, *command],
        env=without_server_variables() | warehouse.server.environment() | environment,
        cwd=refreshing.PROJECT_FOLDER,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.wait(timeout=seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    connected = "select count(*) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()"
    deadline = time.monotonic() + 60
    while warehouse.query(connected, warehouse.server.database)[0][0]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def assert_same(left: dict[str, list[str]], right: dict[str, list[str]]) -> None:
    """Every relation holds the same rows on both sides; the message shows rows that one side lacks."""
    assert left.keys() == right.keys()
    differing = {}
    for relation, rows in left.items():
        if rows != right[relation]:
            only_left, only_right = set(rows) - set(right[relation]), set(right[relation]) - set(rows)
            differing[relation] = (len(rows), len(right[relation]), sorted(only_left)[:2], sorted(only_right)[:2])
    assert not differing, differing


def lines_of(files: Iterable[Path]) -> list[bytes]:
    """The records of sample files, a line each; files that are JSON arrays are left out."""
    lines: list[bytes] = []
    for path in files:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if not content.lstrip().startswith(b"["):
            lines += [line for line in content.split(b"\n") if line.strip()]
    return lines


def workspace_versions(batches: Iterable[bytes]) -> list[bytes]:
    """Three versions of each workspace the batches name, two of them of one time, and one that no batch names."""
    # Some of the sample's lines are no JSON.
    named = {name.decode() for line in batches for name in re.findall(rb'"workspace_id": ?"([^"]+)"', line)}
    versions = []
    for workspace in (*sorted(named), "never-visited"):
        for number, (plan, updated_at) in enumerate([("free", 2), ("pro", 3), ("team", 3)]):
            subscription = {"plan_type": plan, "status": "active", "created_at": f"2026-03-0{1 + number % 2}T00:00:00Z"}
            version = {"id": workspace, "updated_at": f"2026-03-0{updated_at}T00:00:00Z", "name": workspace.upper()}
            versions.append(json.dumps(version | {"workspace_subscriptions": [subscription]}).encode())
    return versions


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of the project that refreshes in this test build from."""
    with copied_project(tmp_path / "project") as folder:
        yield folder


@pytest.fixture(scope="session")
def make_warehouse(
    make_database: Callable[[], Server], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Warehouse]:
    """A function that makes an empty warehouse."""
    return lambda: Warehouse(make_database(), tmp_path_factory.mktemp("loads"))


@pytest.fixture(scope="session")
def copy_warehouse(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Warehouse], Warehouse]]:
    """A function that copies a built warehouse, database and all: cheaper than building it again."""
    made: list[str] = []

    def copy(original: Warehouse) -> Warehouse:
        name = f"tidemark_test_{secrets.token_hex(4)}"
        made.append(name)
        return Warehouse(
            create_database(server, name, original.server.database), tmp_path_factory.mktemp("loads"), original.files
        )

    yield copy
    for name in made:
        drop_database(server, name)


@pytest.fixture(scope="session")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Stream → the lines of a small sample with every trap, and versions of workspaces as a pull brings them."""
    folder = tmp_path_factory.mktemp("small") / "sample"
    write_sample(folder, seed=11, days=9, visitors=40)
    lines = {stream: lines_of(sorted((folder / stream).iterdir())) for stream in STREAMS}
    costs = lines_of(sorted((folder / "costs").iterdir()))
    return lines | {"costs": costs, "workspaces": workspace_versions(lines["session_batches"])}


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder and truth of a whole sample, five weeks."""
    folder = tmp_path_factory.mktemp("truth") / "sample"
    return folder, write_sample(folder, seed=5, days=35, visitors=400)


@pytest.fixture(scope="session")
def sample_warehouse(make_warehouse: Callable[[], Warehouse], sample: tuple[Path, dict[str, Any]]) -> Warehouse:
    """The whole sample loaded and built. Read only."""
    built = make_warehouse()
    with contextlib.closing(connect(built.server)) as connection:
        load_paths(connection, [sample[0]])
    run = built.refresh()
    assert run.tests_failed == []
    return built


@pytest.fixture(scope="session")
def received_as_made(make_warehouse: Callable[[], Warehouse], small_sample: dict[str, list[bytes]]) -> Warehouse:
    """The small sample, received as it was made, built. Copied, never changed."""
    warehouse = make_warehouse()
    for stream in (*STREAMS, "costs"):
        warehouse.load(stream, small_sample[stream])
    warehouse.refresh()
    for stream, told_at in TIMES.items():
        warehouse.query(AGE.format(stream=stream, time=told_at))
        warehouse.query(DAYS.format(stream=stream))
    warehouse.query("select ops.make_partitions(0, '2026-04-01')")
    return warehouse
