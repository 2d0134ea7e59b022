"""dbt's connections: one for each of its threads, kept from node to node.

dbt closes its connection after every node and opens another for the next, hundreds of times in a refresh. Each costs a
server process with empty caches, and where the server is remote several round trips for TLS and the password.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress

import psycopg2
from dbt.adapters.base.connections import BaseConnectionManager
from dbt.adapters.contracts.connection import Connection, ConnectionState
from dbt.adapters.postgres.connections import PostgresConnectionManager

# Seconds; who stands between may have let go of one that was idle for longer.
IDLE_SECONDS = 60.0
IDLE_SINCE = "tidemark_idle_since"


def keep_connections() -> None:
    """From now on dbt's connections stay open in this process, each until its call of dbt ends."""
    PostgresConnectionManager.release = _release
    PostgresConnectionManager.set_connection_name = _set_connection_name


def _release(manager: PostgresConnectionManager) -> None:
    connection = manager.get_if_exists()
    if connection is not None and connection.state == ConnectionState.OPEN:
        # one that the server ended is closed: what its node did is told already
        with suppress(psycopg2.Error):
            # sends nothing if no transaction is open
            connection.handle.rollback()
            connection.transaction_open = False
            setattr(connection, IDLE_SINCE, time.monotonic())
            return
    BaseConnectionManager.release(manager)


def _set_connection_name(manager: PostgresConnectionManager, name: str | None = None) -> Connection:
    connection = manager.get_if_exists()
    # of one that is in use, or never was, nothing is noted
    idle_since = None if connection is None else vars(connection).pop(IDLE_SINCE, None)
    if idle_since is not None and (time.monotonic() - idle_since > IDLE_SECONDS or _has_news(connection)):
        manager.close(connection)
    return BaseConnectionManager.set_connection_name(manager, name)


def _has_news(connection: Connection) -> bool:
    """A server says nothing to who is idle, unless that it has gone."""
    poll = select.poll()
    poll.register(connection.handle, select.POLLIN)
    return poll.poll(0) != []
