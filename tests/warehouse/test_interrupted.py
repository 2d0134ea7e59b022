"""A refresh stopped in the midst of a model, by whatever means, says so in one line and the next one finishes it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ingest import server as embedded
from ingest.connection import Server, connect, embedded_server
from ingest.migrate import migrate
from orchestration.refresh import PROJECT_FOLDER
from tests.conftest import HOME_PREFIX, HOMES, remove_home
from tests.warehouse.conftest import Warehouse, assert_same, without_server_variables

AS_OF = "2026-04-01T00:00:00+00:00"


def event(number: int, at: str, **who: str) -> bytes:
    return json.dumps({"eventId": f"e{number}", "eventName": "clicked", "timestamp": at} | who).encode()


FIRST = [event(1, "2026-03-01T10:00:00Z", anonymousId="a1"), event(2, "2026-03-03T10:00:00Z", anonymousId="a1")]
# Somebody signs in weeks later, and an earlier visit begins earlier.
SECOND = [
    event(3, "2026-03-20T10:00:00Z", anonymousId="a1", userId="u1"),
    event(4, "2026-03-03T09:45:00Z", anonymousId="a1"),
]
THIRD = [event(5, "2026-03-21T10:00:00Z", anonymousId="a2")]


@pytest.fixture(scope="module")
def own_home() -> Iterator[Path]:
    """The home of a server that may be killed, with a migrated database."""
    folder = Path(tempfile.mkdtemp(prefix=HOME_PREFIX, dir=HOMES))
    folder.chmod(0o755)
    (folder / "pid").write_text(str(os.getpid()))
    home = folder / "home"
    try:
        with connect(embedded_server(embedded.start(home), "postgres"), autocommit=True) as connection:
            connection.execute("create database tidemark")
        with connect(own_database(home)) as connection:
            migrate(connection)
        yield home
    finally:
        remove_home(folder)


def own_database(home: Path) -> Server:
    return embedded_server(embedded.running(home), "tidemark")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def heed_interrupts() -> None:
    """Tests that run in the background of a shell ignore Ctrl-C, and what they start would too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start_refresh(environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration", "refresh", "--no-inbox", "--quiet"],
        env=without_server_variables() | {"TIDEMARK_AS_OF": AS_OF} | environment,
        cwd=PROJECT_FOLDER, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interrupts,
    )  # fmt: skip


STATES = """
    select case when completed_at is not null then 'complete' when failed_at is not null then 'failed' else 'died' end
    from ops.refreshes order by refresh_id
"""
WAITING = """
    select pid from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock' and application_name = 'dbt'
"""


@contextlib.contextmanager
def held_at_a_model(
    server: Server, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen, psycopg.Connection, psycopg.Connection, int]]:
    """A refresh that stands still in the midst of fct_events: its process, the connection that holds it up until it
    rolls back, another connection, and the pid of the backend that waits."""
    with contextlib.closing(connect(server)) as holder, contextlib.closing(connect(server, autocommit=True)) as reader:
        holder.execute("lock table marts.fct_events in access exclusive mode")
        running = start_refresh(environment)
        try:
            wait_for(lambda: running.poll() is not None or reader.execute(WAITING).fetchone() is not None, "the model")
            assert running.poll() is None, running.communicate()
            yield running, holder, reader, reader.execute(WAITING).fetchone()[0]
        finally:
            running.kill()


def last_line(said: str) -> str:
    return said.strip().splitlines()[-1].strip()


def test_however_a_refresh_is_stopped_it_says_so_and_the_next_one_finishes_it(own_home, make_warehouse, tmp_path):
    # It is this test that lets go, however long it takes it.
    environment = {"TIDEMARK_HOME": str(own_home), "TIDEMARK_LOCK_TIMEOUT": "10min"}
    warehouse = Warehouse(own_database(own_home), tmp_path)
    warehouse.load("events", FIRST)
    first = start_refresh(environment)
    assert first.communicate(timeout=600)[0].startswith("Refresh 1 of prod")
    warehouse.load("events", SECOND)

    # its statement cancelled
    with held_at_a_model(warehouse.server, environment) as (running, _, reader, backend):
        reader.execute("select pg_cancel_backend(%s)", [backend])
        _, said = running.communicate(timeout=600)
    assert running.returncode == 2
    assert re.match(r"Error: \d+ models failed \(fct_events, .*the work list is kept\.$", last_line(said))

    # Ctrl-C
    with held_at_a_model(warehouse.server, environment) as (running, _, reader, _):
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=600)
        # dbt has cancelled what the server was doing for it
        assert reader.execute(WAITING).fetchall() == []
    assert running.returncode == 2
    assert last_line(said) == "Error: The refresh was interrupted: start it again, it takes up what is left."

    # the connection that holds the lock ended
    with held_at_a_model(warehouse.server, environment) as (running, holder, reader, _):
        reader.execute("select pg_terminate_backend(backend_pid) from ops.refreshes order by refresh_id desc limit 1")
        holder.rollback()
        _, said = running.communicate(timeout=600)
    assert running.returncode == 2
    assert last_line(said).startswith("Error: The connection that held the refresh lock was lost (")

    # killed
    with held_at_a_model(warehouse.server, environment) as (running, _, _, _):
        running.kill()
        running.wait(timeout=600)

    # the server killed, as in a crash: the next refresh starts it
    with held_at_a_model(warehouse.server, environment) as (running, _, _, _):
        os.kill(embedded.running(own_home).pid, signal.SIGQUIT)
        _, said = running.communicate(timeout=600)
    assert running.returncode == 2
    assert last_line(said).startswith("Error: dbt stopped (Database Error connection to server at ")
    wait_for(lambda: embedded.running(own_home) is None, "the server to die")
    embedded.start(own_home)
    warehouse.server = own_database(own_home)
    assert [state for (state,) in warehouse.query(STATES)] == ["complete", "failed", "failed", "died", "died", "died"]
    assert warehouse.query("select completed_seq from ops.bounds") == [(1,)]

    # and the last one, while another wants to begin and a load commits
    with held_at_a_model(warehouse.server, environment) as (running, holder, _, _):
        second = start_refresh(environment)
        _, said = second.communicate(timeout=600)
        assert second.returncode == 2
        assert re.fullmatch(
            rf"Error: Another refresh of prod is running \(process {running.pid} on .*: wait for it, .*\n", said
        )
        warehouse.load("events", THIRD)
        holder.rollback()
        out, said = running.communicate(timeout=600)
    assert (running.returncode, said) == (0, "")
    # Numbers go on behind a gap after a crash.
    assert re.match(r"Refresh \d+ of prod: loads up to 2, ", out)
    expected = make_warehouse()
    expected.load("events", FIRST + SECOND)
    expected.refresh()
    assert_same(expected.contents(), warehouse.contents())
    assert warehouse.query("select completed_seq from ops.bounds") == [(2,)]
