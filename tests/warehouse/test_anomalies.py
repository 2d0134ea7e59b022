"""Observations and verdicts follow late data and the clock, and are then what a full build makes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

from ingest.connection import connect
from tests.warehouse.conftest import Warehouse, assert_same

RELATIONS = (
    "marts.metric_observations", "marts.agg_metric_days", "marts.fct_bucket_verdicts", "marts.fct_anomalies",
)  # fmt: skip
LATE_KEY = "sign_in_failures_over_10 (default,default) 2026-03-10T10:00Z"


def failed_sign_in(number: int, at: str) -> bytes:
    record = {"eventId": f"late-{number}", "eventName": "sign_in_failed", "funnelId": "default", "timestamp": at}
    return json.dumps(record | {"sessionId": f"late-{number}"}).encode()


def contents(warehouse: Warehouse) -> dict[str, list[str]]:
    return {
        relation: sorted(row for (row,) in warehouse.query(f"select t::text from {relation} as t"))
        for relation in RELATIONS
    }


def execute(warehouse: Warehouse, *statements: str) -> None:
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_late_events_and_hours_of_silence_give_what_a_full_build_gives(
    sample_warehouse: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]
):
    warehouse = copy_warehouse(sample_warehouse)
    assert warehouse.query("select 1 from marts.fct_anomalies where anomaly_key = %s", LATE_KEY) == []
    # Three weeks late: twelve failures within a quarter of an hour.
    warehouse.load("events", [failed_sign_in(number, "2026-03-10T10:04:00Z") for number in range(12)])
    # And the clock moves on by thirty-six hours, in which nothing is measured.
    warehouse.refresh(as_of="2026-04-02 12:00+00")
    rescored = contents(warehouse)

    assert warehouse.query(
        "select severity, current::integer, resolved_at::text from marts.fct_anomalies where anomaly_key = %s", LATE_KEY
    ) == [("warning", 12, "2026-03-10 10:15:00+00")]
    # The same hour of the weeks after has an expectation that knows of it: of hours with 0 and 3 a quarter.
    assert warehouse.query(
        """
        select expected > 0 from marts.metric_observations
        where metric = 'sign_in_failures' and bucket_at = '2026-03-17 10:00+00' and seasons = 2
        """
    ) == [(True,)]
    # Silence is no gap of knowledge for a count: page views of a working day are missed, and that lasts.
    silent = warehouse.query(
        """
        select severity, current::integer, resolved_at is null from marts.fct_anomalies
        where rule = 'page_views_seasonal' and app_id = 'default' and last_seen_at = '2026-04-02 11:00+00'
        """
    )
    assert silent == [("critical", 0, True)]
    assert warehouse.query("select max(bucket_at)::text from marts.metric_observations where grain_minutes = 60") == [
        ("2026-04-02 11:00:00+00",)
    ]

    # Built whole, and a seed has another column than its table: both are made anew.
    execute(
        warehouse,
        "delete from ops.model_state where model in ('metric_observations', 'agg_metric_days', 'suppressed_periods')",
        "alter table staging.suppressed_periods drop column reason cascade",
    )
    run = warehouse.refresh(as_of="2026-04-02 12:00+00")
    assert set(run.rebuilt) >= {"metric_observations", "agg_metric_days", "fct_bucket_verdicts"}
    assert_same(rescored, contents(warehouse))
    assert warehouse.query("select count(reason) from staging.suppressed_periods") == [(0,)]

    # A clock that is set back takes back what it had not seen.
    warehouse.refresh()
    assert warehouse.query(
        "select max(bucket_at) < '2026-04-01 00:00+00', count(*) filter (where expected is null and seasons > 0)"
        " from marts.metric_observations"
    ) == [(True, 0)]
