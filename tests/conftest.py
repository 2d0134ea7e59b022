"""One real PostgreSQL for the whole run, and databases on it that cost a tenth of a second each.

`DATABASE_URL` or `PG*` naming a server: that one is used, its user must be allowed to create databases.
Otherwise an embedded server is made in a throw-away home and stopped at the end.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from dbt_common.behavior_flags import BehaviorFlagRendered
from hypothesis import HealthCheck, settings
from psycopg import sql

from ingest import server as embedded
from ingest.connection import Server, connect, names_a_server, resolve, variable_names
from ingest.migrate import migrate

CHECKOUT = Path(__file__).resolve().parents[1]
HOMES = Path(tempfile.gettempdir())
HOME_PREFIX = "tidemark-tests-"

# On a busy machine an example may take any time, and so may making one up: neither decides a test.
settings.register_profile("tidemark", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tidemark")


def remove_home(folder: Path) -> None:
    """Stop the server of a throw-away home and remove all its files."""
    home = folder / "home"
    data = embedded.data_folder(home)
    embedded.stop(home)
    if data is not None and data.parent != home:
        shutil.rmtree(data.parent, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_homes_of_killed_runs() -> None:
    for folder in HOMES.glob(f"{HOME_PREFIX}*"):
        with contextlib.suppress(Exception):
            owner = int((folder / "pid").read_text())
            try:
                os.kill(owner, 0)
            except ProcessLookupError:
                remove_home(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What builds warehouses begins first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: "warehouse" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def dbt_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What dbt writes goes to a folder of this run: workers beside each other would parse over each other's state."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH"):
            patch.setenv(name, str(tmp_path_factory.mktemp("dbt")))
        yield


@pytest.fixture(scope="session", autouse=True)
def flags_without_a_source() -> Iterator[None]:
    """dbt looks up in the source of every caller which module a flag of its adapters comes from, to name it in a
    warning: below pytest's deep stack that is a second of each call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BehaviorFlagRendered, "_default_source", staticmethod(lambda: "an adapter"))
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of this run, logged in to its maintenance database."""
    if names_a_server():
        named = resolve()
        with pytest.MonkeyPatch.context() as patch:
            # Said once, in PG*: a test that names another database then contradicts no URL.
            for name in ("DATABASE_URL", *variable_names().values()):
                patch.delenv(name, raising=False)
            for name, value in named.environment().items():
                patch.setenv(name, value)
            yield named
        return
    remove_homes_of_killed_runs()
    # A terminated run stops its server as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix=HOME_PREFIX, dir=HOMES))
    folder.chmod(0o755)
    (folder / "pid").write_text(str(os.getpid()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMARK_HOME", str(folder / "home"))
        # `server env` of the checkout's own server may have been evaluated in this shell.
        for name in ("DATABASE_URL", "TIDEMARK_PORT", *variable_names().values()):
            patch.delenv(name, raising=False)
        try:
            made = resolve("postgres", reading=True)
            with connect(made, autocommit=True) as connection:
                # These databases end with the run: nothing to keep through a power cut.
                for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                    connection.execute(f"alter system set {setting} = off")
                connection.execute("select pg_reload_conf()")
            yield made
        finally:
            remove_home(folder)


def create_database(server: Server, name: str, template: str = "template0") -> Server:
    # Twice as fast as copying through the WAL, but asks for a checkpoint: not on a server others use.
    strategy = "file_copy" if server.embedded else "wal_log"
    create = sql.SQL("create database {} template {} strategy {}")
    with connect(server, autocommit=True) as connection:
        connection.execute(create.format(*map(sql.Identifier, (name, template, strategy))))
    return server.with_database(name)


def drop_database(server: Server, name: str) -> None:
    with connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database(server: Server) -> Iterator[Server]:
    """A database without any migration, for one test."""
    name = f"tidemark_test_{secrets.token_hex(4)}"
    yield create_database(server, name)
    drop_database(server, name)


@pytest.fixture(scope="session")
def template(server: Server) -> Iterator[str]:
    """The name of a migrated database nobody is connected to, for `create database … template`."""
    name = f"tidemark_test_template_{secrets.token_hex(4)}"
    try:
        with connect(create_database(server, name)) as connection:
            migrate(connection)
        yield name
    finally:
        drop_database(server, name)


@pytest.fixture(scope="session")
def make_database(server: Server, template: str) -> Iterator[Callable[[], Server]]:
    """Make a fresh migrated database at each call; all are dropped when the run ends."""
    made: list[str] = []

    def make() -> Server:
        name = f"tidemark_test_{secrets.token_hex(4)}"
        made.append(name)
        return create_database(server, name, template)

    yield make
    for name in made:
        drop_database(server, name)


@pytest.fixture(scope="module")
def database(make_database: Callable[[], Server]) -> Server:
    """A migrated database shared by the tests of one module."""
    return make_database()


@pytest.fixture
def fresh_database(make_database: Callable[[], Server]) -> Server:
    """A migrated database for one test alone."""
    return make_database()


@pytest.fixture
def connection(database: Server) -> Iterator[psycopg.Connection]:
    """A connection to the module's database; what the test does not commit is rolled back."""
    with contextlib.closing(connect(database)) as opened:
        yield opened


@pytest.fixture
def run_ingest() -> Callable[..., subprocess.CompletedProcess]:
    """Call `python -m ingest …` in a process of its own: `run_ingest("load", path, server=database)`.

    `server` puts its PG* variables into the environment; `environment` adds to that, None removes a variable.
    """

    def run(
        *arguments: object,
        server: Server | None = None,
        environment: dict[str, str | None] | None = None,
        **options: object,
    ) -> subprocess.CompletedProcess:
        variables = os.environ | (server.environment() if server else {}) | (environment or {})
        return subprocess.run(
            [sys.executable, "-m", "ingest", *map(str, arguments)],
            env={name: value for name, value in variables.items() if value is not None},
            **{"cwd": CHECKOUT, "capture_output": True, "text": True, "timeout": 120, **options},
        )

    return run
