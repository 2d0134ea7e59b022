"""Maintenance stopped half-way leaves every row as it was, and the next one does what is left."""

import contextlib

import pytest

from ingest.connection import connect
from orchestration.maintenance import maintain
from tests.warehouse.conftest import assert_same, kill_at_a_random_moment

MAINTAIN = """
from ingest.connection import resolve
from orchestration.maintenance import maintain
maintain(resolve(start=False), days_ahead=30)
"""
AHEAD = """
select count(*) from pg_class
where relispartition and relnamespace = 'raw'::regnamespace and relname ~ to_char(current_date + 30, 'YYYYMMDD')
"""
UNVACUUMED = "select count(*) from pg_stat_user_tables where schemaname = 'marts' and n_dead_tup > 0"


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_maintenance_killed_at_moments_nobody_chose_is_done_by_running_it_again(
    received_as_made, copy_warehouse, kills, monkeypatch, tmp_path
):
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path))
    warehouse = copy_warehouse(received_as_made)
    before = warehouse.contents()
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute("update marts.fct_sessions set event_count = event_count")
    for _ in range(kills):
        kill_at_a_random_moment(warehouse, ["-c", MAINTAIN], longest=3)
    done = maintain(warehouse.server, days_ahead=30)
    assert done.left == []
    assert warehouse.query(AHEAD)[0][0] > 0
    assert warehouse.query(UNVACUUMED) == [(0,)]
    assert_same(before, warehouse.contents())
    assert warehouse.refresh().tests_failed == []
    assert_same(before, warehouse.contents())
