"""The marts against the truth when each day loads what was delivered on it, sessions up to 60 hours late included."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from pathlib import Path

from ingest.connection import connect
from ingest.load import load_paths
from ingest.sample import write_sample
from tests.warehouse.test_truth import counts_that_differ

DAYS = 10


def test_ten_daily_loads_with_stragglers_count_what_happened(make_warehouse, tmp_path):
    truth = write_sample(tmp_path / "sample", seed=3, days=DAYS, visitors=150)
    # 3 % of the sessions, some of them in part on time
    assert truth["traps"]["straggling_session"] >= 20
    files: dict[str, list[Path]] = defaultdict(list)
    for path in (tmp_path / "sample").glob("*/*"):
        files[path.name[: len("2026-03-22")]].append(path)
    assert len(files) == DAYS
    warehouse = make_warehouse()
    for day in sorted(files):
        with contextlib.closing(connect(warehouse.server)) as connection:
            load_paths(connection, sorted(files[day]))
        warehouse.refresh()
    assert counts_that_differ(warehouse, truth) == {}
