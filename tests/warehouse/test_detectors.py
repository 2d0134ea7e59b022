"""What each detector says of series made for it, all judged in one build; every number is worked out by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from psycopg import sql

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from orchestration.detector_project import Row, Value, judge

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONDAY = datetime(2026, 3, 2, tzinfo=timezone.utc)
AS_OF = MONDAY + 35 * DAY


def metric(name: str, **more: str) -> Row:
    return {
        "metric": name, "label": "things", "unit": "count", "kind": "usage_anomaly", "measure": "sum", "scope": "app",
        "grain_minutes": "60", "missing_bucket": "zero", "direction": "above", "season_days": "7",
    } | more  # fmt: skip


def rule(name: str, of: str, detector: str, **numbers: object) -> Row:
    given = {"rule": name, "metric": of, "detector": detector, "cool_down_minutes": 0, "critical_excess": 2}
    return {column: str(value) for column, value in (given | numbers).items()}


METRICS = [
    metric("hourly"),
    metric("falling", direction="below"),
    metric("quarterly", grain_minutes="15"),
    metric("counts", direction="both"),
    metric("means", measure="mean", missing_bucket="unknown", direction="both", season_days="1", unit="ms"),
]
RULES = [
    rule("seasonal", "hourly", "seasonal_baseline", threshold=10, minimum_history_days=21),
    rule("drop", "falling", "fixed_threshold", window_minutes=60, drop_threshold_percent=30, minimum_expected=50,
         minimum_history_days=21),
    rule("ten_in_a_quarter", "quarterly", "fixed_threshold", window_minutes=15, spike_threshold=10),
    rule("thirty_in_an_hour", "quarterly", "fixed_threshold", window_minutes=60, spike_threshold=30),
    rule("rare", "counts", "count_tail", threshold="1e-6", minimum_history_days=7),
    rule("counts_calibrated", "counts", "self_calibrating", threshold=1.05, minimum_history_days=7),
    rule("counts_seasonal", "counts", "seasonal_baseline", threshold=4, minimum_history_days=7),
    rule("calibrated", "means", "self_calibrating", threshold=1.05, minimum_history_days=7, cool_down_minutes=720),
    rule("means_seasonal", "means", "seasonal_baseline", threshold=4, minimum_history_days=7),
]  # fmt: skip
SUPPRESSED = [
    {"from_at": "2026-03-02 10:00+00", "to_at": "2026-03-02 12:00+00", "app_id": "muted", "reason": "a load test"}
]


def mondays_at_ten(of: str, app: str, *values: float, parts: Any = lambda value: []) -> Iterator[Value]:
    for week, value in enumerate(values):
        yield Value(of, app, MONDAY + 10 * HOUR + 7 * week * DAY, 60, value, 1, parts(value))


def hours(of: str, app: str, first: datetime, values: Any) -> Iterator[Value]:
    for number, value in enumerate(values):
        if value is not None:
            yield Value(of, app, first + number * HOUR, 60, value)


def quarters(app: str, first: datetime, *values: float) -> Iterator[Value]:
    for number, value in enumerate(values):
        yield Value("quarterly", app, first + number * HOUR / 4, 15, value)


def parts_of(value: float) -> list[dict[str, object]]:
    """A chat that is used as ever, and a loop that is not."""
    chat = {"kind": "feature", "name": "chat", "amount": min(value, 10), "measurements": 1}
    return [chat, {"kind": "feature", "name": "loop", "amount": 990, "measurements": 1}] if value > 100 else [chat]


# 10 and 12 in turns, the same at the same hour of every day.
CALM = [10, 12] * 12
SPIKY_DAY = [20, 12, 10, 12, 10, 12, 40, *([12, 10] * 6), 12, 100, 12, 10, 12]
SERIES: list[Value] = [
    *mondays_at_ten("hourly", "weekly", 10, 12, 14, 1000, parts=parts_of),
    *mondays_at_ten("hourly", "short", 10, 12, 1000),
    *mondays_at_ten("falling", "dropped", 100, 100, 100, 70, 100),
    *mondays_at_ten("falling", "held", 100, 100, 100, 71, 100),
    *mondays_at_ten("falling", "small", 40, 40, 40, 0, 40),
    *quarters("burst", MONDAY + 10 * HOUR, 9, 10, 25, 3),
    *quarters("muted", MONDAY + 10 * HOUR, 9, 10, 25, 3),
    *quarters("open", AS_OF - HOUR / 4, 11, 500),
    *hours("counts", "zeros_then_one", MONDAY, [0] + [None] * 239 + [1]),
    *hours("counts", "zeros_then_five", MONDAY, [0] + [None] * 239 + [5]),
    *hours("counts", "counts_from_today", AS_OF - 10 * HOUR, [1, 1000, 0, 50, 1, 20_000, 0, 3, 9, 1]),
    *hours("means", "constant", MONDAY, [45] * 240),
    *hours("means", "single", MONDAY + 5 * HOUR, [7]),
    *hours("means", "holes", MONDAY, [*CALM * 9, *[None] * 75, *CALM * 4]),
    *hours("means", "today", AS_OF - 10 * HOUR, [1, 1000, 0, 50, 1, 20_000, 0, 3, 9, 1]),
    *hours("means", "spiky", MONDAY, [*CALM * 10, *SPIKY_DAY]),
]


@pytest.fixture(scope="module")
def judged(make_database: Callable[[], Server]) -> Server:
    server = make_database()
    # Clocks go forward there on 8 March: days of a session's zone are of no account.
    with contextlib.closing(connect(server, autocommit=True)) as connection:
        zone = sql.SQL("alter database {} set timezone to 'America/New_York'")
        connection.execute(zone.format(sql.Identifier(server.database)))
    judge(server, SERIES, {"metrics": METRICS, "anomaly_rules": RULES, "suppressed_periods": SUPPRESSED}, AS_OF)
    return server


def query(server: Server, statement: str, *parameters: object) -> list[tuple]:
    with contextlib.closing(connect(server, autocommit=True)) as connection:
        return connection.execute(statement, parameters).fetchall()


def anomalies(server: Server, app: str, columns: str) -> list[tuple]:
    return query(
        server, f"select {columns} from marts.fct_anomalies where app_id = %s order by first_seen_at, rule", app
    )


def test_same_hour_of_the_week_by_median_and_spread(judged):
    # 10, 12, 14: median 12, deviations 2, 0, 2, so spread 1.4826 * 2 = 2.9652 and the bound 12 + 10 * 2.9652. With the
    # bucket itself the median would be 13.
    at = MONDAY + 21 * DAY + 10 * HOUR
    assert anomalies(
        judged, "weekly", "rule, first_seen_at, last_seen_at, resolved_at, current, expected, lower, upper, severity"
    ) == [("seasonal", at, at, at + HOUR, 1000, 12, None, Decimal("41.652"), "critical")]
    assert anomalies(judged, "short", "rule") == []


def test_what_moved_it_and_how_it_reads(judged):
    # Chat had 10 in each of three weeks: it is no reason.
    [(contributors, explanation, deviation, key)] = anomalies(
        judged, "weekly", "contributors, explanation, deviation, anomaly_key"
    )
    assert contributors == [{"kind": "feature", "name": "loop", "current": 990, "usual": 0, "change": 990}]
    assert explanation == (
        "things in weekly were 1,000 against 12 expected (below 41.7) at 2026-03-23 10:00 UTC;"
        " most of the difference is feature loop"
    )
    # 988 / 12
    assert deviation == Decimal("82.3333")
    assert key == "seasonal (weekly,weekly) 2026-03-23T10:00Z"


def test_a_drop_of_thirty_percent_and_not_one_of_twenty_nine(judged):
    assert anomalies(judged, "dropped", "current, expected, lower, deviation, severity") == [
        (70, 100, 70, Decimal("-0.3"), "warning")
    ]
    assert anomalies(judged, "held", "rule") == []
    # 40 are fewer than are judged.
    assert anomalies(judged, "small", "rule") == []


def test_so_many_in_so_many_minutes(judged):
    # 9 is under ten, 10 and 25 are not, 3 is. In the hour up to each quarter: 9, 19, 44, 47, 38, 28.
    start = MONDAY + 10 * HOUR
    assert anomalies(judged, "burst", "rule, first_seen_at, last_seen_at, bucket_at, buckets, current, severity") == [
        ("ten_in_a_quarter", start + HOUR / 4, start + HOUR / 2, start + HOUR / 2, 2, 25, "critical"),
        ("thirty_in_an_hour", start + HOUR / 2, start + HOUR, start + 3 * HOUR / 4, 3, 47, "warning"),
    ]
    assert anomalies(judged, "muted", "rule") == []


def test_what_lasts_is_not_resolved_and_a_bucket_that_is_not_over_is_not_judged(judged):
    assert anomalies(judged, "open", "rule, first_seen_at, current, resolved_at") == [
        ("ten_in_a_quarter", AS_OF - HOUR / 4, 11, None)
    ]


def test_a_quiet_count_may_happen_once_and_not_five_times_at_once(judged):
    assert anomalies(judged, "zeros_then_one", "rule") == []
    # 240 hours with nothing: mean 0.5 / 240. Two at once have a probability of 6.5e-6, three of 2.2e-8.
    assert anomalies(judged, "zeros_then_five", "rule, first_seen_at, current, upper, expected") == [
        ("rare", MONDAY + 10 * DAY, 5, 3, Decimal("0.002083"))
    ]


def test_a_series_without_a_past_has_no_anomalies(judged):
    for app in ("constant", "single", "holes", "today", "counts_from_today"):
        assert anomalies(judged, app, "rule") == [], app


def test_gaps_are_told(judged):
    # Nine days, then 75 hours without a measurement: unknown for a mean.
    gaps = query(
        judged,
        """
        select count(*), count(value), min(bucket_at), max(bucket_at) from marts.metric_observations
        where app_id = 'holes' and is_gap and bucket_date < '2026-03-18'
        """,
    )
    assert gaps == [(75, 0, MONDAY + 9 * DAY, MONDAY + 9 * DAY + 74 * HOUR)]
    # Of a count zero; watched for two weeks after the last measurement, on 12 March.
    assert query(
        judged,
        """
        select sum(value), bool_and(is_gap), max(bucket_date)::text from marts.metric_observations
        where app_id = 'zeros_then_one' and bucket_at > %s
        """,
        MONDAY + 10 * DAY,
    ) == [(0, True, "2026-03-26")]


def test_a_deviation_beyond_all_before_is_one_anomaly_until_it_cools_down(judged):
    # The level of the day before is 11, and the second value was 2 from it, the most there was: the bound is 11 + 2.1.
    # At the same hour it was always 10: nothing to judge by. The step is 8 against 1.15 * 2.
    # Then 40: 28.58 from the level, at most 9 before. Six hours later is the same anomaly, fourteen hours another.
    spikes = MONDAY + 10 * DAY
    found = anomalies(
        judged, "spiky", "first_seen_at, last_seen_at, bucket_at, buckets, current, expected, lower, upper, judged_by"
    )
    assert found[0] == (
        spikes, spikes + 6 * HOUR, spikes, 2, 20, 11, Decimal("8.9"), Decimal("13.1"), "level"
    )  # fmt: skip
    assert [each[:2] for each in found[1:]] == [(spikes + 20 * HOUR, spikes + 20 * HOUR)]


def test_a_rule_that_names_no_metric_stops_the_build(make_database):
    lost = [*RULES, rule("lost", "no_such_metric", "self_calibrating", threshold=1.05)]
    with pytest.raises(
        TidemarkError, match=r"anomaly_rules\.csv, line 11: rule lost watches the metric no_such_metric"
    ):
        judge(make_database(), [], {"metrics": METRICS, "anomaly_rules": lost})
