"""The models of anomalies alone, on values that are given: for the evaluation of detectors, and their tests."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from psycopg.types.json import Jsonb

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from ingest.migrate import migrate
from orchestration.refresh import PROJECT_FOLDER

Row = Mapping[str, str]

# What the models of anomalies stand on; the values themselves come by `history`, not from events.
COPIED = (
    "macros", "models/marts/anomalies", "models/staging/history/_history__sources.yml",
    "models/staging/history/stg_closed_metric_values.sql", "seeds/_anomalies__seeds.yml", "seeds/anomaly_settings.csv",
    "dbt_project.yml", "profiles.yml",
)  # fmt: skip
SEEDS = ("metrics", "anomaly_rules", "suppressed_periods")
VALUES_OF_HISTORY = """
{{ config(materialized='table', contract={'enforced': false}) }}

select
    {{ series_key() }} as series_key,
    {{ series_day(series_key()) }} as series_day,
    metric,
    app_id,
    scope,
    scope_value,
    bucket_at,
    bucket_date,
    {{ recorded_value('metric_value', 'grain_minutes', 'integer') }} as grain_minutes,
    {{ recorded_value('metric_value', 'value', 'numeric') }} as value,
    {{ recorded_value('metric_value', 'observations', 'bigint') }} as observations,
    {{ recorded_value('metric_value', 'parts', 'jsonb') }} as parts
from {{ ref('stg_closed_metric_values') }}
"""


class Value(NamedTuple):
    """What a metric was in one bucket of an app."""

    metric: str
    app_id: str
    bucket_at: datetime
    grain_minutes: int
    value: float
    observations: int = 1
    parts: Sequence[Mapping[str, object]] = ()


def seed(name: str) -> list[dict[str, str]]:
    """The rows of a seed of the project."""
    with (PROJECT_FOLDER / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def judge(
    server: Server, values: Iterable[Value], rows: Mapping[str, Sequence[Row]], as_of: datetime | None = None
) -> None:
    """Build the models of anomalies in an empty database: `values` judged by the `rows` of the seeds, as of a time.

    A row need not name every column of its seed.

    Raises:
        TidemarkError: the models did not build.
    """
    with tempfile.TemporaryDirectory() as folder:
        _copy_project(Path(folder), rows)
        with connect(server) as connection:
            migrate(connection)
        _fill(server, values, as_of)
        _build(server, Path(folder))


def _copy_project(folder: Path, rows: Mapping[str, Sequence[Row]]) -> None:
    for name in COPIED:
        source, copy = PROJECT_FOLDER / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    (folder / "models/marts/anomalies/agg_metric_values.sql").write_text(VALUES_OF_HISTORY, encoding="utf-8")
    for name in SEEDS:
        with (PROJECT_FOLDER / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            columns = next(csv.reader(file))
        with (folder / "seeds" / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows.get(name, []))


def _fill(server: Server, values: Iterable[Value], as_of: datetime | None) -> None:
    with connect(server) as connection:
        connection.execute("insert into ops.bounds (target, as_of) values ('prod', coalesce(%s, ops.clock()))", [as_of])
        with connection.cursor().copy(
            "copy history.closed_metric_values"
            " (metric, app_id, scope, scope_value, bucket_at, bucket_date, metric_value) from stdin"
        ) as copy:
            for each in values:
                recorded = {
                    "grain_minutes": each.grain_minutes, "value": each.value, "observations": each.observations,
                    "parts": list(each.parts),
                }  # fmt: skip
                copy.write_row(
                    (
                        each.metric,
                        each.app_id,
                        "app",
                        each.app_id,
                        each.bucket_at,
                        each.bucket_at.date(),
                        Jsonb(recorded),
                    )
                )


def _build(server: Server, folder: Path) -> None:
    from dbt.cli.main import dbtRunner

    from orchestration.dbt_overhead import spare_overhead

    spare_overhead()
    # The bounds are set: dbt must not settle its own.
    environment = server.environment() | {"TIDEMARK_REFRESH_ID": "0"}
    options = ["--project-dir", str(folder), "--profiles-dir", str(folder), "--target-path", str(folder / "target")]
    with patch.dict("os.environ", environment):
        run = dbtRunner().invoke(
            ["--quiet", "--log-path", str(folder / "logs"), "build", *options, "--exclude-resource-type", "test"]
        )
    if not run.success:
        messages = []
        with suppress(TypeError):
            messages = [result.message for result in run.result if result.status not in ("success", "skipped")]
        raise TidemarkError(f"The models of anomalies did not build: {run.exception or '; '.join(messages)}")
