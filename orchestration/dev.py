"""`make dev`: the Dagster UI and its daemon, in the foreground until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException

import click

from ingest.connection import connect, resolve
from ingest.errors import TidemarkError
from ingest.migrate import migrate
from orchestration.dbt_manifest import load_manifest
from orchestration.instance import prepare_instance
from orchestration.refresh import PROJECT_FOLDER

HOST = "127.0.0.1"
USUAL_PORT = 3000
STOP_SECONDS = 30


def dev(port: int | None = None, database: str | None = None) -> int:
    """Serve the UI on `port` (3000, or a free one when that is taken); returns its exit status.

    The warehouse is `database`, else what is there already: the demo's while there is no other.

    Raises:
        TidemarkError: no server, no storage, a port in use, or a project that does not parse.
    """
    server = resolve(resolve(database, reading=True).database)
    with connect(server, autocommit=True) as connection:
        migrate(connection)
    chosen = free_port(port)
    environment = prepare_instance(server)
    load_manifest()
    # pyproject.toml names the module. Dagster recommends another program for this, which we do not install.
    command = [sys.executable, "-W", "ignore::FutureWarning", "-m", "dagster", "dev"]
    options = ["--host", HOST, "--port", str(chosen), "--log-level", "warning"]
    with stopped_at_the_end(command + options, environment) as process:
        announce(process, chosen, server.database)
        process.wait()
    return process.returncode if process.returncode > 0 else 0


def free_port(wanted: int | None) -> int:
    """`wanted` if it is free; without one 3000, or any that is free.

    Raises:
        TidemarkError: `wanted` is taken.
    """
    for port in (wanted,) if wanted else (USUAL_PORT, 0):
        with socket.socket() as listener, suppress(OSError):
            # As the server will: a port that a stopped server has just left is free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
            return listener.getsockname()[1]
    raise TidemarkError(f"Port {wanted} is taken: stop what listens there, or choose another with --port.")


def announce(process: subprocess.Popen[bytes], port: int, database: str) -> None:
    """Wait until the UI answers, then say where it is."""
    click.echo(f"Starting Dagster on the database {database} …", err=True)
    while process.poll() is None:
        with suppress(OSError, HTTPException):
            if answers(port):
                click.echo(f"Dagster is at http://{HOST}:{port} (Ctrl-C stops it)")
                return
        time.sleep(0.3)


def answers(port: int) -> bool:
    """Whether the UI serves on this port; an exception while nobody listens."""
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    finally:
        connection.close()


@contextmanager
def stopped_at_the_end(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own; when the block ends nothing of it is left.

    Ctrl-C and SIGTERM end the block without a traceback.
    """
    # Whoever starts us in the background has SIGINT ignored, and Dagster's processes would inherit that: they
    # stop by no other signal.
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    process = subprocess.Popen(command, cwd=PROJECT_FOLDER, env=environment, start_new_session=True)
    try:
        yield process
    except KeyboardInterrupt:
        click.echo("Stopping Dagster …", err=True)
    finally:
        for number in before:
            # A second Ctrl-C must not leave anything behind.
            signal.signal(number, signal.SIG_IGN)
        stop_group(process)
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and its whole group: politely, then firmly."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_SECONDS)
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(process.pid, sent):
            break
        deadline = time.monotonic() + 5
        while _signal_group(process.pid, 0) and time.monotonic() < deadline:
            time.sleep(0.1)
    process.wait()


def _signal_group(group: int, number: int) -> bool:
    """Send a signal (0: none) to a process group; False when nobody is left in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
