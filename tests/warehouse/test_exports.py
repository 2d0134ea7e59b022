"""Exports are whole, of one moment, harmless in a spreadsheet, and there at once or not at all."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet
import pytest

from ingest.connection import connect
from ingest.errors import TidemarkError
from orchestration.defs.exports import export as export_job
from orchestration.exports import run as running
from orchestration.exports.catalogue import INSIGHTS
from orchestration.exports.monthly import monthly_marts
from orchestration.exports.period import period_of
from orchestration.exports.run import MANIFEST, Export, Request, export
from orchestration.refresh import PROJECT_FOLDER
from tests.warehouse.conftest import Warehouse, without_server_variables

MARCH = Request(month="2026-03")
# Every kind of column, and what a spreadsheet or a parser may trip over. 0.1 + 0.2 has no exact double.
ODD = """
create view marts.agg_odd as
select * from (values
    (
        1, '=1+1', '-3'::numeric, date '2026-03-01', timestamptz '2026-03-01 00:00+00', array['a', '=b'],
        '{"a": "+1"}'::jsonb
    ),
    (2, E'+SUM("A1")\\n;', 0.3, 'infinity', timestamptz '-infinity', null, '-5'::jsonb),
    (3, '@x', 12345678901234567890.123456789012345678, null, null, array[]::text[], null),
    (4, E'\\t=x', 0.0000000001, date '2026-03-31', timestamptz '2026-03-31 23:59:59.999999+00', array[null], '[]'),
    (5, '', null, date '2026-04-01', timestamptz '2026-04-01 00:00+00', null, null),
    (6, 'naïve "quoted", -1', 1, date '2026-02-28', timestamptz '2026-02-28 23:59:59+00', null, null)
) as odd (place, told, amount, day, at, words, document)
"""


@pytest.fixture(scope="module")
def warehouse(sample_warehouse: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]) -> Warehouse:
    """A copy of the sample with a mart of odd values; its clock stands at the sample's."""
    copy = copy_warehouse(sample_warehouse)
    with contextlib.closing(connect(copy.server, autocommit=True)) as connection:
        connection.execute(ODD)
        connection.execute(f"alter database {copy.server.database} set tidemark.as_of = '2026-04-01 00:00+00'")
    return copy


@pytest.fixture(scope="module")
def big(warehouse: Warehouse) -> int:
    """How many rows of a kilobyte each the mart agg_big has."""
    rows = 80_000
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute(
            "create view marts.agg_big as select place, repeat(md5(place::text), 32) as told"
            f" from generate_series(1, {rows}) as place"
        )
    return rows


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def exported(warehouse: Warehouse, folder: Path, request: Request = MARCH, **wanted: Any) -> Export:
    return export(warehouse.server, replace(request, **wanted), folder)


def test_every_mart_has_the_rows_of_its_days(warehouse: Warehouse, tmp_path: Path) -> None:
    done = exported(warehouse, tmp_path, everything=True, format="csv")
    on_disk = {path.stem for path in (PROJECT_FOLDER / "models" / "marts").rglob("*.sql")}
    assert {file.mart for file in done.files} - {"agg_odd", "agg_big"} == on_disk
    counted = {file.mart: file.rows for file in done.files}
    for mart, column in (("fct_sessions", "session_date"), ("agg_daily_stats", "stat_date")):
        wanted = warehouse.query(
            f"select count(*) from marts.{mart} where {column} between '2026-03-01' and '2026-03-31'"
        )[0][0]
        assert counted[mart] == wanted > 0
        assert wanted < warehouse.query(f"select count(*) from marts.{mart}")[0][0]
    manifest = json.loads((done.folder / MANIFEST).read_text())
    assert manifest["period"] == {"first": "2026-03-01", "last": "2026-03-31"}
    assert {file["mart"]: file["rows"] for file in manifest["files"]} == counted
    for file in manifest["files"]:
        path = done.folder / file["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        assert path.stat().st_size == file["bytes"]
        assert path.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "2026-03-csv"]


def test_the_three_formats_tell_the_same(warehouse: Warehouse, tmp_path: Path) -> None:
    folders = {
        form: exported(warehouse, tmp_path, names=["fct_sessions", "agg_cost_daily"], format=form).folder
        for form in ("json", "csv", "parquet")
    }
    for mart, amount in (("fct_sessions", "llm_cost_usd"), ("agg_cost_daily", "cost_usd")):
        from_csv = rows_of(folders["csv"] / f"{mart}.csv")
        from_json = json.loads((folders["json"] / f"{mart}.json").read_text(), parse_float=Decimal)
        from_parquet = pyarrow.parquet.read_table(folders["parquet"] / f"{mart}.parquet").to_pylist()
        sums = [
            sum(Decimal(row[amount]) for row in from_csv if row[amount]),
            sum(Decimal(row[amount]) for row in from_json if row[amount] is not None),
            sum(row[amount] for row in from_parquet if row[amount] is not None),
        ]
        days = {"fct_sessions": "session_date", "agg_cost_daily": "cost_date"}[mart]
        told = warehouse.query(
            f"select count(*), sum({amount}) from marts.{mart} where {days} between '2026-03-01' and '2026-03-31'"
        )[0]
        assert {len(from_csv), len(from_json), len(from_parquet)} == {told[0]}
        assert set(sums) == {told[1]}
        assert told[1] > 0
        assert list(from_csv[0]) == list(from_json[0]) == list(from_parquet[0])


def test_no_cell_is_a_formula_and_nothing_else_changes(warehouse: Warehouse, tmp_path: Path) -> None:
    rows = rows_of(exported(warehouse, tmp_path, names=["agg_odd"], format="csv").folder / "agg_odd.csv")
    # By `day`: what has no day, or none that ends, is of no period.
    assert [(row["place"], row["told"]) for row in rows] == [("1", "'=1+1"), ("4", "'\t=x")]
    assert rows[0]["amount"] == "-3"
    assert rows[1]["amount"] == "0.0000000001"
    assert rows[0]["words"] == '["a", "=b"]'
    assert rows[0]["document"] == '{"a": "+1"}'
    longer = Request(first="2026-02-28", last="2026-04-01", names=["agg_odd"], format="csv")
    rows = rows_of(exported(warehouse, tmp_path, longer).folder / "agg_odd.csv")
    assert {row["place"]: row["told"] for row in rows}["6"] == 'naïve "quoted", -1'
    assert not [row for row in rows if row["told"].startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_odd_values_in_parquet_and_json(warehouse: Warehouse, tmp_path: Path) -> None:
    request = Request(first="2026-03-01", last="2026-03-31", names=["agg_odd"], by="at")
    folder = exported(warehouse, tmp_path, request, format="parquet").folder
    table = pyarrow.parquet.read_table(folder / "agg_odd.parquet")
    assert [str(field.type) for field in table.schema] == [
        *("int32", "string", "decimal128(38, 18)", "date32[day]", "timestamp[us, tz=UTC]", "list<element: string>"),
        "string",
    ]
    rows = table.to_pylist()
    assert [row["place"] for row in rows] == [1, 4]
    assert rows[0]["told"] == "=1+1"
    assert rows[0]["day"] == date(2026, 3, 1)
    assert rows[0]["words"] == ["a", "=b"]
    assert rows[1]["at"].microsecond == 999999
    told = json.loads(
        (exported(warehouse, tmp_path, request, format="json").folder / "agg_odd.json").read_text(), parse_float=Decimal
    )
    assert told[1]["amount"] == Decimal("0.0000000001")
    assert told[0]["document"] == {"a": "+1"}


def test_no_digit_is_lost_and_what_does_not_fit_is_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute("create view marts.agg_exact as select 12345678901234567890.123456789012345678 as amount")
        connection.execute("create view marts.agg_huge as select 1e21::numeric as amount")
    folder = exported(warehouse, tmp_path, names=["agg_exact"], format="parquet").folder
    (row,) = pyarrow.parquet.read_table(folder / "agg_exact.parquet").to_pylist()
    assert row["amount"] == Decimal("12345678901234567890.123456789012345678")
    with pytest.raises(TidemarkError, match=r"agg_huge\.amount holds a number"):
        exported(warehouse, tmp_path / "other", names=["agg_huge"], format="parquet")
    assert [path.name for path in (tmp_path / "other").iterdir()] == [".lock"]
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute("drop view marts.agg_exact, marts.agg_huge")


def test_the_same_data_are_the_same_bytes(warehouse: Warehouse, tmp_path: Path) -> None:
    names = ["fct_sessions", "agg_odd", "metric_observations"]
    sums = [
        [file.sha256 for file in exported(warehouse, tmp_path / str(number), names=names, format="csv").files]
        for number in range(2)
    ]
    assert sums[0] == sums[1]


def test_insights_come_beside_and_are_not_cut(warehouse: Warehouse, tmp_path: Path) -> None:
    done = exported(warehouse, tmp_path, names=["agg_daily_stats", "dim_users"], insights=True)
    files = {file.mart: file for file in done.files}
    assert set(files) == {"agg_daily_stats", "dim_users", *INSIGHTS}
    assert files["fct_anomalies"].period_column == "first_seen_at"
    for mart in ("agg_cost_forecast", "agg_visitor_forecast", "recommendations", "dim_users"):
        assert files[mart].period_column is None
        assert files[mart].rows == warehouse.query(f"select count(*) from marts.{mart}")[0][0] > 0


def test_the_marts_of_the_monthly_export_are_there(warehouse: Warehouse, tmp_path: Path) -> None:
    done = exported(warehouse, tmp_path, Request(), names=monthly_marts())
    assert done.period.name == "2026-03"
    assert all(file.rows for file in done.files)


@pytest.mark.parametrize(
    "name",
    [
        "fct_sessions; drop table marts.fct_sessions",
        'fct_sessions" where true --',
        "../../etc/passwd",
        "marts.fct_sessions",
        "pg_authid",
        "FCT_SESSIONS",
        "fct_sessions\x00",
        "",
    ],
)
def test_a_name_that_is_no_marts_is_refused_and_writes_nothing(warehouse: Warehouse, tmp_path: Path, name: str) -> None:
    with pytest.raises(TidemarkError, match="There is no mart"):
        exported(warehouse, tmp_path, names=["fct_sessions", name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"names": []}, "Name the marts"),
        ({"format": "xlsx"}, "no format 'xlsx'"),
        ({"format": "../csv"}, "no format"),
        ({"by": "app_id"}, "no date or time 'app_id'"),
        ({"by": 'session_date"; --'}, "no date or time"),
        ({"month": "2026-13"}, "no month"),
        ({"month": "../2026-03"}, "no month"),
        ({"month": "2026-03", "days": "30d"}, "in one way"),
        ({"month": None, "days": "30"}, "no number of days"),
        ({"month": None, "days": "0d"}, "no number of days"),
        ({"month": None, "days": "9999d"}, "no number of days"),
        ({"month": None, "first": "2026-03-01"}, "give both"),
        ({"month": None, "first": "2026-03-02", "last": "2026-03-01"}, "before it begins"),
        ({"month": None, "first": "yesterday", "last": "2026-03-01"}, "no day"),
        ({"month": None, "first": "2026-03-01' or true --", "last": "2026-03-01"}, "no day"),
    ],
)
def test_what_is_badly_told_is_refused(warehouse: Warehouse, tmp_path: Path, wanted: Any, said: str) -> None:
    with pytest.raises(TidemarkError, match=said):
        exported(warehouse, tmp_path, **{"names": ["fct_sessions"], **wanted})
    assert list(tmp_path.iterdir()) == []


def test_a_period_is_days_with_both_ends() -> None:
    today = date(2026, 3, 31)
    told = {
        "none": period_of(today),
        "leap": period_of(today, month="2028-02"),
        "december": period_of(today, month="2025-12"),
        "days": period_of(today, days="30d"),
        "one": period_of(today, first="2026-03-01", last="2026-03-01"),
    }
    assert {name: (period.first.isoformat(), period.last.isoformat()) for name, period in told.items()} == {
        "none": ("2026-02-01", "2026-02-28"),
        "leap": ("2028-02-01", "2028-02-29"),
        "december": ("2025-12-01", "2025-12-31"),
        "days": ("2026-03-01", "2026-03-30"),
        "one": ("2026-03-01", "2026-03-01"),
    }


def test_an_export_is_not_overwritten_unasked(warehouse: Warehouse, tmp_path: Path) -> None:
    done = exported(warehouse, tmp_path, names=["agg_daily_stats"])
    before = (done.folder / MANIFEST).read_text()
    with pytest.raises(TidemarkError, match="is there already"):
        exported(warehouse, tmp_path, names=["fct_sessions"])
    assert (done.folder / MANIFEST).read_text() == before
    exported(warehouse, tmp_path, names=["fct_sessions"], replace=True)
    assert sorted(path.name for path in done.folder.iterdir()) == ["fct_sessions.json", MANIFEST]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "2026-03-json"]


def test_a_folder_that_cannot_be_written_is_said(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TidemarkError, match="cannot be written"):
        exported(warehouse, tmp_path / "file", names=["agg_daily_stats"])


# Linux counts the memory of whoever started a process for its own, but not there.
MOST_MEMORY = """
import atexit, re, runpy, sys
status = lambda: open("/proc/self/status").read()
atexit.register(lambda: print("most memory:", re.search(r"VmHWM:\\s+(\\d+)", status())[1]))
sys.argv[0] = "orchestration"
runpy.run_module("orchestration", run_name="__main__")
"""


def child(warehouse: Warehouse, folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", MOST_MEMORY, "export", *arguments, "--out", str(folder)],
        cwd=PROJECT_FOLDER,
        env={**without_server_variables(), **warehouse.server.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_export_leaves_nothing_that_looks_like_one(warehouse: Warehouse, big: int, tmp_path: Path) -> None:
    old = exported(warehouse, tmp_path, names=["agg_daily_stats"], format="csv")
    killed = child(warehouse, tmp_path, "agg_big", "--month", "2026-03", "--format", "csv", "--replace")
    until = time.monotonic() + 60
    while not [path for path in tmp_path.glob(".partial-*/agg_big.csv") if path.stat().st_size > 100_000]:
        assert killed.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert sorted(path.name for path in old.folder.iterdir()) == ["agg_daily_stats.csv", MANIFEST]
    # Killed between the two steps of a replacement, the old one comes back.
    old.folder.rename(old.folder.with_name(old.folder.name + running.ASIDE))
    exported(warehouse, tmp_path, names=["agg_daily_stats"], format="json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "2026-03-csv", "2026-03-json"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of memory")
@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_memory_does_not_follow_size(warehouse: Warehouse, big: int, tmp_path: Path, form: str) -> None:
    used = []
    for mart in ("agg_odd", "agg_big"):
        process = child(warehouse, tmp_path / mart, mart, "--month", "2026-03", "--format", form)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        used.append(int(re.search(r"most memory: (\d+)", output)[1]) / 1024)
    manifest = json.loads((tmp_path / "agg_big" / f"2026-03-{form}" / MANIFEST).read_text())
    assert manifest["files"][0]["rows"] == big
    # 80 MB went through it.
    assert used[1] - used[0] < 40, used


def test_a_mart_that_is_rebuilt_meanwhile_is_not_empty(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "LOCK_SECONDS", 1)
    with contextlib.closing(connect(warehouse.server)) as other:
        other.execute("lock table marts.agg_daily_stats in access exclusive mode")
        with pytest.raises(TidemarkError, match="is being rebuilt"):
            exported(warehouse, tmp_path, names=["agg_daily_stats"])
        other.rollback()
    assert [path.name for path in tmp_path.iterdir()] == []


def test_the_job_exports_what_its_configuration_says(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in warehouse.server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TIDEMARK_EXPORTS", str(tmp_path))

    def run(**config: Any) -> dg.ExecuteInProcessResult:
        told = {"ops": {"export_marts": {"config": config}}}
        return export_job.execute_in_process(run_config=told, raise_on_error=False)

    assert run(marts=["agg_daily_stats"], format="JSON", period="7d", include_insights=False).success
    assert (tmp_path / "2026-03-25_2026-03-31-json" / "agg_daily_stats.json").exists()
    assert run().success
    assert {path.stem for path in (tmp_path / "2026-03-csv").glob("*.csv")} == {*monthly_marts(), *INSIGHTS}
    # What is there is not overwritten, and no string reaches SQL or a path.
    assert not run().success
    for hostile in ({"marts": ["x; drop table marts.fct_sessions"]}, {"month": "../../x"}, {"first_day": "' or true"}):
        assert not run(**hostile).success
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "2026-03-25_2026-03-31-json", "2026-03-csv"]
    with pytest.raises(dg.DagsterInvalidConfigError):
        run(folder="/etc")
