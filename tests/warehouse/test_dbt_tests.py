"""dbt's own tests, unit tests and nightly ones included, on the whole sample."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from orchestration.refresh import PROJECT_FOLDER, dbt_arguments
from tests.warehouse.conftest import Warehouse, without_server_variables


@pytest.mark.parametrize(("kind", "at_least"), [("unit_test", 14), ("test", 20)])
def test_dbt_tests_pass(sample_warehouse: Warehouse, kind: str, at_least: int):
    done = subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", "test", "--resource-type", kind, *dbt_arguments("prod")],
        env=without_server_variables() | sample_warehouse.server.environment(),
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"PASS=(\d+)", done.stdout)[1]) >= at_least
