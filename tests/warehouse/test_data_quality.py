"""Data quality: what is late, ahead of its time, sent twice, missing, refused, silent."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import pytest

from ingest.connection import connect
from orchestration.defs.quality import MART, quality
from orchestration.quality import concerns, newest_values
from orchestration.refresh import PROJECT_FOLDER, dbt_arguments
from tests.warehouse.conftest import Warehouse, without_server_variables


def event(name: str, happened_at: datetime) -> bytes:
    return json.dumps(
        {"event": name, "appId": "quality", "anonymousId": "q-1", "timestamp": happened_at.isoformat()}
    ).encode()


def batch(session: str, seq: int, started_at: datetime) -> bytes:
    return json.dumps(
        {
            **{"sessionId": session, "batchId": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{session} {seq}"))},
            **{"batchSeq": seq, "startedAt": started_at.isoformat(), "pathSequence": ["/a"], "pathTimings": [0]},
        }
    ).encode()


@dataclass
class Quality:
    warehouse: Warehouse
    now: datetime
    loads: dict[str, int]

    def load(self, name: str, stream: str, lines: list[bytes], hours_ago: float = 0) -> None:
        """Load lines as if it had been so many hours before."""
        self.warehouse.load(stream, lines)
        with contextlib.closing(connect(self.warehouse.server, autocommit=True)) as connection:
            load_id = connection.execute("select max(load_id) from raw.loads").fetchone()[0]
            back = timedelta(hours=hours_ago)
            connection.execute("update raw.loads set started_at = started_at - %s where load_id = %s", [back, load_id])
            connection.execute(
                f"update raw.{stream} set received_at = received_at - %s where load_id = %s", [back, load_id]
            )
        self.loads[name] = load_id

    def measured(self, name: str) -> tuple:
        return self.warehouse.query(
            "select received_rows, duplicate_rows, late_rows, ahead_rows from marts.fct_load_quality"
            " where load_id = %s",
            self.loads[name],
        )[0]


@pytest.fixture(scope="module")
def judged(sample_warehouse: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]) -> Quality:
    """A copy of the sample with loads of our own on top, refreshed as of now."""
    warehouse = copy_warehouse(sample_warehouse)
    now = datetime.now(timezone.utc)
    found = Quality(warehouse, now, {})
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    found.load("long_ago", "events", [event("old", now - 50 * hour)], hours_ago=49)
    found.load("before", "events", [event("again", now - 2 * hour), event("old", now - 50 * hour)], hours_ago=1)
    found.load(
        "last",
        "events",
        [
            event("again", now - 2 * hour),
            event("twice", now - hour),
            event("twice", now - hour),
            event("late", now - 25 * hour),
            event("not_late", now - 23 * hour),
            event("ahead", now + 10 * minute),
            event("not_ahead", now + minute),
        ],
    )
    # 1, 2 and 5 came, 3 and 4 did not; the other session has a single number, and a server counts milliseconds.
    found.load(
        "gaps",
        "session_batches",
        [batch("gappy", seq, now - hour) for seq in (1, 2, 5, 2)]
        + [batch("single", 7, now - hour)]
        + [batch("server", seq, now - hour) for seq in (0, 1772442235000)],
    )
    found.load("refused", "costs", [b"{}", b"no json", b'{"provider": "p"}'])
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        # A stream's ledger of five weeks: 100 rows each same weekday before, 40 yesterday; 30 hours of silence since.
        yesterday = datetime.combine(now.date(), datetime.min.time(), timezone.utc) - timedelta(days=1)
        for weeks, rows in ((0, 40), (1, 100), (2, 90), (3, 120), (4, 110)):
            connection.execute(
                """
                insert into raw.loads (stream, file, checksum, bytes, records, loaded, started_at, published_seq)
                values ('workspaces', 'w', %s, 1, %s, %s, %s, nextval('raw.published_seq'))
                """,
                [f"w{weeks}", rows, rows, yesterday - timedelta(weeks=weeks)],
            )
    assert warehouse.refresh(now).tests_failed == []
    return found


def test_rows_are_judged_by_their_load(judged: Quality) -> None:
    # An equal row of 48 hours before is no duplicate any more, and 49 hours late it is late.
    assert judged.measured("long_ago") == (1, 0, 0, 0)
    assert judged.measured("before") == (2, 0, 1, 0)
    assert judged.measured("last") == (7, 2, 1, 1)


def test_numbers_between_that_never_came_are_missing(judged: Quality) -> None:
    found = judged.warehouse.query(
        "select session_id, batches_seen, batches_missing from marts.agg_batch_gaps"
        " where session_id in ('gappy', 'single', 'server')"
    )
    assert found == [("gappy", 3, 2)]


def test_the_ledger_tells_volume_silence_and_what_was_refused(judged: Quality) -> None:
    found = {
        row[0]: row[1:]
        for row in judged.warehouse.query(
            "select measure, affected, total, value, is_beyond from marts.agg_data_quality"
            " where subject = 'workspaces' and measure <> 'rejects' and value is not null"
            " and measured_date >= (ops.as_of() at time zone 'UTC')::date - 1"
        )
    }
    # The median of 100, 90, 120 and 110 is 105.
    assert found["volume"][:2] == (40, 105)
    assert (float(found["volume"][2]), found["volume"][3]) == (0.381, True)
    since = judged.now - datetime.combine(judged.now.date(), datetime.min.time(), timezone.utc) + timedelta(days=1)
    assert float(found["freshness"][2]) == pytest.approx(since.total_seconds() / 3600, abs=0.01)
    # No limit for this stream.
    assert not found["freshness"][3]
    refused = judged.warehouse.query(
        "select affected, total, is_beyond from marts.agg_data_quality"
        " where measure = 'rejects' and subject = 'costs' order by measured_date desc limit 1"
    )
    stream = judged.warehouse.query(
        "select sum(rejected), sum(records) from raw.loads where stream = 'costs' and started_at >= %s",
        judged.now.replace(hour=0, minute=0, second=0, microsecond=0),
    )
    assert refused == [(*stream[0], True)]


def test_what_has_no_price_and_who_never_signed_in(judged: Quality) -> None:
    told = dict(
        judged.warehouse.query(
            "select measure, (sum(affected), sum(total)) from marts.agg_data_quality"
            " where measure in ('unpriced', 'unstitched') group by measure"
        )
    )
    facts = judged.warehouse.query(
        "select (select (count(*) filter (where cost_basis = 'unpriced'), count(*)) from marts.fct_llm_requests),"
        " (select (count(*) filter (where user_id is null), count(*)) from marts.dim_visitors)"
    )[0]
    assert [tuple(map(int, told[measure])) for measure in ("unpriced", "unstitched")] == [
        tuple(map(int, fact)) for fact in facts
    ]


def test_loads_that_come_later_are_measured_and_purged_ones_go(
    judged: Quality, copy_warehouse: Callable[[Warehouse], Warehouse]
) -> None:
    copy = copy_warehouse(judged.warehouse)
    later = Quality(copy, judged.now, dict(judged.loads))
    later.load("later", "events", [event("again", judged.now - timedelta(hours=2))])
    # Nothing that was measured before is measured again.
    copy.query("update marts.fct_load_quality set late_rows = 77 where load_id = %s returning 1", later.loads["last"])
    copy.query("update ops.horizon set horizon = %s returning 1", judged.now - timedelta(hours=12))
    copy.refresh(judged.now)
    assert later.measured("later") == (1, 1, 0, 0)
    assert later.measured("last")[2] == 77
    assert copy.query("select from marts.fct_load_quality where load_id = %s", later.loads["long_ago"]) == []


def test_dagster_gets_numbers_and_says_what_is_beyond_its_limit(
    judged: Quality, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in judged.warehouse.server.environment().items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(connect(judged.warehouse.server)) as connection:
        rows = newest_values(connection)
    assert any(line.startswith("volume of workspaces was 0.381") for line in concerns(rows))
    instance = dg.DagsterInstance.ephemeral()
    result = quality.execute_in_process(instance=instance)
    assert result.success
    (observed,) = instance.fetch_observations(MART, limit=5).records
    numbers = {name: value.value for name, value in observed.asset_observation.metadata.items()}
    assert numbers["volume_workspaces"] == pytest.approx(0.381)
    assert numbers["beyond_limit"] == len(concerns(rows)) > 0
    config: dict[str, Any] = {"ops": {"show_quality": {"config": {"fail_beyond_limits": True}}}}
    failed = quality.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert not failed.success


def test_dbt_knows_how_fresh_the_sources_are(judged: Quality, tmp_path: Any) -> None:
    environment = {**without_server_variables(), **judged.warehouse.server.environment()}
    with contextlib.closing(connect(judged.warehouse.server, autocommit=True)) as connection:
        connection.execute("update raw.loads set started_at = now() - interval '3 days' where stream = 'identifies'")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "dbt.cli.main", "source", "freshness", "--quiet"),
            *("--select", "source:raw.identifies", "source:raw.events"),
            *("--target-path", tmp_path, "--log-path", tmp_path, *dbt_arguments("prod")),
        ],
        env=environment | {"PYTHONWARNINGS": "ignore"},
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    results = json.loads((tmp_path / "sources.json").read_text())["results"]
    assert {result["unique_id"].split(".")[-1]: result["status"] for result in results} == {
        "events": "pass",
        "identifies": "error",
    }
