"""`make evaluate-anomalies`: the project's own detectors on labelled series, scored as the Numenta Anomaly Benchmark does.

The series become values of a metric in a database of its own, the models of `models/marts/anomalies` judge them with the
numbers of one rule of the seed, the same for every series, and each anomaly's first bucket is an alarm.
"""

from __future__ import annotations

import csv
import json
import shutil
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import patch

import click
from psycopg import sql
from psycopg.types.json import Jsonb
from rich.console import Console
from rich.table import Table

from ingest.connection import Server, connect, resolve
from ingest.errors import TidemarkError
from ingest.migrate import migrate
from orchestration.nab_score import Score, Window, normalized, score_of
from orchestration.refresh import PROJECT_FOLDER

DATABASE = "tidemark_evaluation"
DEFAULT_DATA = PROJECT_FOLDER.parent / "shared" / "data" / "anomalies"
RULE = "response_time_calibrated"
"""Whose detector, threshold and cool-down are evaluated, unless told."""

# What the models of anomalies stand on; the values themselves come by `history`, not from events.
COPIED = (
    "macros", "models/marts/anomalies", "models/staging/history/_history__sources.yml",
    "models/staging/history/stg_closed_metric_values.sql", "seeds/_anomalies__seeds.yml", "seeds/anomaly_settings.csv",
    "seeds/suppressed_periods.csv", "dbt_project.yml", "profiles.yml",
)  # fmt: skip
VALUES_OF_HISTORY = """
{{ config(materialized='table') }}

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


@dataclass(frozen=True)
class Series:
    """A labelled series: its rows' times and values, where it is abnormal, and the minutes from row to row."""

    name: str
    times: list[datetime]
    values: list[float]
    windows: list[Window]
    grain_minutes: int

    def bucket_of(self, time: datetime) -> datetime:
        """Start of the bucket of the series' own grain that a time falls in."""
        minutes = int(time.timestamp() // 60)
        return datetime.fromtimestamp(60 * (minutes - minutes % self.grain_minutes), timezone.utc)


def read_series(folder: Path) -> list[Series]:
    """The series that `windows.json` of a folder lists.

    Raises:
        TidemarkError: a file is missing, or a line of it is no time and number.
    """
    listed = json.loads((folder / "windows.json").read_text(encoding="utf-8"))
    return [_read(folder, name, windows) for name, windows in sorted(listed.items())]


def _read(folder: Path, name: str, windows: list[list[str]]) -> Series:
    times, values = [], []
    try:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                times.append(_time(row["timestamp"]))
                values.append(float(row["value"]))
    except (OSError, KeyError, ValueError) as error:
        raise TidemarkError(f"{name}, line {len(times) + 1}: {error}") from error
    between = [(after - before).total_seconds() / 60 for before, after in zip(times, times[1:], strict=False)]
    places = []
    for first, last in windows:
        inside = [place for place, time in enumerate(times) if _time(first) <= time <= _time(last)]
        places.append((inside[0], inside[-1]))
    return Series(name, times, values, places, max(1, round(statistics.median(between))))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def alarms_of(series: Series, first_seen: Mapping[str, list[datetime]]) -> list[int]:
    """Places of the rows with which anomalies of a series began."""
    begun = set(first_seen.get(series.name, []))
    places = []
    for place, time in enumerate(series.times):
        bucket = series.bucket_of(time)
        if bucket in begun:
            begun.remove(bucket)
            places.append(place)
    return places


def anomalies_in(server: Server, series: list[Series], rule: str) -> dict[str, list[datetime]]:
    """Name of a series to the starts of the anomalies that the project's models find in it."""
    with tempfile.TemporaryDirectory() as folder:
        _copy_project(Path(folder), {each.grain_minutes for each in series}, _rule(rule))
        with connect(server) as connection:
            migrate(connection)
        _fill(server, series)
        _build(server, Path(folder))
    with connect(server, autocommit=True) as connection:
        found = defaultdict(list)
        for name, first_seen_at in connection.execute(
            "select app_id, first_seen_at from marts.fct_anomalies order by 1, 2"
        ):
            found[name].append(first_seen_at)
    return dict(found)


def _rule(name: str) -> dict[str, str]:
    with (PROJECT_FOLDER / "seeds" / "anomaly_rules.csv").open(encoding="utf-8", newline="") as file:
        rules = {row["rule"]: row for row in csv.DictReader(file)}
    if name not in rules:
        raise TidemarkError(f"seeds/anomaly_rules.csv has no rule {name!r}.")
    return rules[name]


def _copy_project(folder: Path, grains: set[int], rule: dict[str, str]) -> None:
    for name in COPIED:
        source, copy = PROJECT_FOLDER / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    (folder / "models/marts/anomalies/agg_metric_values.sql").write_text(VALUES_OF_HISTORY, encoding="utf-8")
    with (PROJECT_FOLDER / "seeds" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        columns = csv.DictReader(file).fieldnames
    metric = {
        "label": "value", "unit": "count", "kind": "usage_anomaly", "measure": "mean", "scope": "app",
        "missing_bucket": "unknown", "direction": "both", "season_days": "1",
    }  # fmt: skip
    # The benchmark itself leaves out the first part of a series.
    judged = rule | {"minimum_history_days": "1"}
    _write(
        folder / "seeds/metrics.csv",
        columns,
        [metric | {"metric": _metric(grain), "grain_minutes": str(grain)} for grain in sorted(grains)],
    )
    _write(
        folder / "seeds/anomaly_rules.csv",
        list(rule),
        [judged | {"rule": _metric(grain), "metric": _metric(grain)} for grain in sorted(grains)],
    )


def _metric(grain_minutes: int) -> str:
    return f"labelled_every_{grain_minutes}_minutes"


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _fill(server: Server, series: list[Series]) -> None:
    with (
        connect(server) as connection,
        connection.cursor().copy(
            "copy history.closed_metric_values"
            " (metric, app_id, scope, scope_value, bucket_at, bucket_date, metric_value) from stdin"
        ) as copy,
    ):
        for each in series:
            buckets: dict[datetime, list[float]] = defaultdict(list)
            for time, value in zip(each.times, each.values, strict=True):
                buckets[each.bucket_of(time)].append(value)
            for bucket, values in buckets.items():
                recorded = {
                    "grain_minutes": each.grain_minutes, "observations": len(values), "value": statistics.fmean(values)
                }  # fmt: skip
                copy.write_row(
                    (_metric(each.grain_minutes), each.name, "app", each.name, bucket, bucket.date(), Jsonb(recorded))
                )


def _build(server: Server, folder: Path) -> None:
    from dbt.cli.main import dbtRunner

    environment = server.environment() | {"TIDEMARK_REFRESH_ID": ""}
    options = ["--project-dir", str(folder), "--profiles-dir", str(folder), "--target-path", str(folder / "target")]
    with patch.dict("os.environ", environment):
        run = dbtRunner().invoke(
            ["--quiet", "--log-path", str(folder / "logs"), "build", *options, "--exclude-resource-type", "test"]
        )
    if not run.success:
        raise TidemarkError(f"The models of anomalies did not build: {run.exception or 'see above'}.")


@contextmanager
def evaluation_database() -> Iterator[Server]:
    """An empty database, dropped afterwards."""
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(DATABASE))
    with connect(resolve("postgres"), autocommit=True) as connection:
        connection.execute(drop)
    try:
        yield resolve(DATABASE)
    finally:
        with connect(resolve("postgres"), autocommit=True) as connection:
            connection.execute(drop)


def table_of(series: list[Series], scores: list[Score]) -> Table:
    """What was found, series by series."""
    table = Table(title="Labelled series", title_justify="left")
    for heading in ("series", "grain", "buckets", "windows", "found", "false alarms", "points"):
        table.add_column(heading, justify="left" if heading == "series" else "right")
    for each, score in zip(series, scores, strict=True):
        table.add_row(
            each.name, f"{each.grain_minutes} min", f"{len(each.times):,}", str(score.windows), str(score.found),
            str(score.false_alarms), f"{score.points:.2f}",
        )  # fmt: skip
    return table


def evaluate(folder: Path, rule: str, tell: Callable[[object], None]) -> float:
    """Judge the series of a folder by a rule of the seed, tell what was found, return the standard score."""
    series = read_series(folder)
    with evaluation_database() as server:
        found = anomalies_in(server, series, rule)
    scores = [score_of(len(each.times), each.windows, alarms_of(each, found)) for each in series]
    alarms, judged = sum(score.false_alarms for score in scores), sum(score.rows_judged for score in scores)
    total = normalized(scores)
    tell(table_of(series, scores))
    tell(f"windows found:                    {sum(s.found for s in scores)} of {sum(s.windows for s in scores)}")
    tell(f"false alarms per 1,000 buckets:   {1000 * alarms / judged:.2f}  ({alarms} in {judged:,} judged)")
    tell(f"NAB score, standard profile:      {total:.1f}")
    return total


@click.command()
@click.argument("data", type=click.Path(path_type=Path), default=DEFAULT_DATA)
@click.option("--rule", default=RULE, show_default=True, help="Rule of seeds/anomaly_rules.csv that judges.")
def main(data: Path, rule: str) -> None:
    """Judge the labelled series in DATA (a folder with windows.json) and print what was found."""
    if not (data / "windows.json").is_file():
        click.echo(f"No labelled series in {data} (windows.json is not there): nothing is evaluated.")
        return
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    try:
        evaluate(data, rule, console.print)
    except TidemarkError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
