"""`make evaluate-anomalies`: the detectors on labelled series, scored as the Numenta Anomaly Benchmark scores.

The series become values of a metric in a database of their own. The models of `models/marts/anomalies` judge them with
the numbers of one rule of the seed, the same for every series, and each anomaly's first bucket is an alarm.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

from psycopg import sql
from rich.table import Table

from ingest.connection import Server, connect, resolve
from ingest.errors import TidemarkError
from orchestration import detector_project
from orchestration.nab_score import Score, Window, normalized, score_of
from orchestration.refresh import PROJECT_FOLDER

DATABASE = "tidemark_evaluation"
DEFAULT_DATA = PROJECT_FOLDER.parent / "shared" / "data" / "anomalies"
RULE = "response_time_calibrated"
"""Whose detector, threshold and cool-down are evaluated, unless told."""

METRIC = {
    "label": "value", "unit": "count", "kind": "usage_anomaly", "measure": "mean", "scope": "app",
    "missing_bucket": "unknown", "direction": "both", "season_days": "1",
}  # fmt: skip
"""Of every labelled series: most are two weeks long, none has a season of a week."""


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
    between = [(after - before).total_seconds() / 60 for before, after in pairwise(times)]
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
    grains = sorted({each.grain_minutes for each in series})
    # The benchmark itself leaves out the first part of a series.
    judged = _rule(rule) | {"minimum_history_days": "1"}
    seeds = {
        "metrics": [METRIC | {"metric": _metric(grain), "grain_minutes": str(grain)} for grain in grains],
        "anomaly_rules": [judged | {"rule": _metric(grain), "metric": _metric(grain)} for grain in grains],
    }
    detector_project.judge(server, _values(series), seeds)
    with connect(server, autocommit=True) as connection:
        found = defaultdict(list)
        for name, first_seen_at in connection.execute(
            "select app_id, first_seen_at from marts.fct_anomalies order by 1, 2"
        ):
            found[name].append(first_seen_at)
    return dict(found)


def _rule(name: str) -> dict[str, str]:
    rules = {row["rule"]: row for row in detector_project.seed("anomaly_rules")}
    if name not in rules:
        raise TidemarkError(f"seeds/anomaly_rules.csv has no rule {name!r}.")
    return rules[name]


def _metric(grain_minutes: int) -> str:
    return f"labelled_every_{grain_minutes}_minutes"


def _values(series: list[Series]) -> Iterator[detector_project.Value]:
    for each in series:
        buckets: dict[datetime, list[float]] = defaultdict(list)
        for time, value in zip(each.times, each.values, strict=True):
            buckets[each.bucket_of(time)].append(value)
        for bucket, values in buckets.items():
            yield detector_project.Value(
                _metric(each.grain_minutes),
                each.name,
                bucket,
                each.grain_minutes,
                statistics.fmean(values),
                len(values),
            )


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
