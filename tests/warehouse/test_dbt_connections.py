"""dbt keeps its connections from node to node: one for each thread, mended where one breaks or was idle too long."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import psycopg
import pytest
from dbt.adapters.contracts.connection import ConnectionState
from dbt.adapters.postgres.connections import PostgresConnectionManager

from orchestration import dbt_connections
from tests.warehouse.conftest import Warehouse

OTHERS = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def built(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """One visit, built. Copied, never changed."""
    warehouse = make_warehouse()
    warehouse.load("events", [event(1)])
    warehouse.refresh()
    return warehouse


@pytest.fixture
def warehouse(built: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]) -> Warehouse:
    """A copy with an event to take up: about a hundred models and four hundred tests run."""
    copied = copy_warehouse(built)
    copied.load("events", [event(2)])
    return copied


def event(number: int) -> bytes:
    record = {"eventId": f"e{number}", "eventName": "clicked", "sessionId": "s", "timestamp": "2026-03-01T10:00:00Z"}
    return json.dumps(record).encode()


def sessions_of_refresh(warehouse: Warehouse) -> int:
    """Refreshes; how many connections that opened."""
    (before,) = warehouse.query("select sessions from pg_stat_database where datname = current_database()")
    warehouse.refresh()
    (after,) = warehouse.query("select sessions from pg_stat_database where datname = current_database()")
    return after[0] - before[0]


def test_a_refresh_opens_connections_for_its_threads_and_leaves_none(warehouse):
    assert sessions_of_refresh(warehouse) < 40
    assert warehouse.query(OTHERS) == []
    assert warehouse.query("select event_count from marts.fct_sessions") == [(2,)]


def test_a_connection_that_was_idle_too_long_is_opened_anew(warehouse, monkeypatch):
    monkeypatch.setattr(dbt_connections, "IDLE_SECONDS", -1.0)
    assert sessions_of_refresh(warehouse) > 100
    assert warehouse.query("select event_count from marts.fct_sessions") == [(2,)]


def test_a_connection_that_the_server_ended_is_opened_anew(warehouse, monkeypatch):
    release, released, ended = dbt_connections._release, itertools.count(), []

    def end(manager: PostgresConnectionManager) -> None:
        connection = manager.get_if_exists()
        if connection is not None and connection.state == ConnectionState.OPEN:
            # by the environment of the refresh, as dbt finds the server
            with psycopg.connect(autocommit=True) as another:
                ending = another.execute("select pg_terminate_backend(%s, 5000)", [connection.handle.info.backend_pid])
                # not, if it was ended before and not used since
                ended.extend(ending.fetchone())

    def release_and_end(manager: PostgresConnectionManager) -> None:
        number = next(released)
        # when its node is done, and when it waits for the next
        if number % 10 == 5:
            end(manager)
        release(manager)
        if number % 10 == 0:
            end(manager)

    monkeypatch.setattr(dbt_connections, "_release", release_and_end)
    run = warehouse.refresh()
    assert (run.models_failed, run.tests_failed) == ([], [])
    assert ended.count(True) > 20
    assert warehouse.query("select event_count from marts.fct_sessions") == [(2,)]
