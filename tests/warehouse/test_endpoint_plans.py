"""Every query behind a function finds its rows by an index, once there are more than a few of them."""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from ingest.connection import connect
from orchestration.bench_endpoints import AS_OF, fill, kinds_of_calls
from tests.warehouse.conftest import under_one_name

# The long mode has as many as `make bench`.
SESSIONS, SESSIONS_OF_BENCH, APPS = 40_000, 1_000_000, 20


@pytest.fixture(scope="module", params=[SESSIONS, pytest.param(SESSIONS_OF_BENCH, marks=pytest.mark.long)])
def sessions(request) -> int:
    """So many visits."""
    return request.param


@pytest.fixture(scope="module")
def connection(sample_warehouse, copy_warehouse, sessions) -> Iterator[psycopg.Connection]:
    """A connection to the sample, and visits of 400 days and 20 apps beside it."""
    warehouse = copy_warehouse(sample_warehouse)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PG")]:
            patch.delenv(name)
        patch.setenv("TIDEMARK_AS_OF", AS_OF.isoformat())
        with under_one_name(warehouse.server) as server:
            for name, value in server.environment().items():
                patch.setenv(name, value)
            fill(server, sessions, APPS)
    with contextlib.closing(connect(warehouse.server)) as connection:
        yield connection


@pytest.mark.parametrize("name", [name for name, *_ in kinds_of_calls(SESSIONS, APPS)])
def test_no_table_is_read_whole(connection, sessions, name):
    ((statement, arguments),) = [told for one, _, *told in kinds_of_calls(sessions, APPS) if one == name]
    connection.rollback()
    before = scans(connection)
    assert connection.execute(statement, arguments(random.Random(name))).fetchone()[0]
    made = scans(connection) - before
    assert [table for kind, table in made if kind == "by index"]
    assert [table for kind, table in made if kind == "whole"] == []


def scans(connection: psycopg.Connection) -> Counter[tuple[str, str]]:
    """How often the connection has read tables of more than a few pages so far, whole and by an index."""
    rows = connection.execute(
        """
        select relname, coalesce(seq_scan, 0), coalesce(idx_scan, 0) from pg_stat_xact_user_tables
        where schemaname = 'marts' and (select reltuples from pg_class where oid = relid) > 2000
        """
    ).fetchall()
    counted = Counter()
    for table, whole, by_index in rows:
        counted += Counter({("whole", table): whole, ("by index", table): by_index})
    return counted
