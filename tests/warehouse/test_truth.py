"""The marts against what really happened in the sample, as its generator recorded it while it happened."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ingest.connection import connect
from ingest.streams.registry import NAMES
from tests.warehouse.conftest import Warehouse

BY_APP_AND_DAY = """
with

sessions as (
    select
        app_id, stat_date as day, total_sessions as sessions, unique_visitors as visitors,
        converted_sessions as conversions, total_messages_received as messages_received, widget_opens, widget_loads
    from marts.agg_daily_stats
),

page_views as (select app_id, view_date as day, count(*) as page_views from marts.fct_page_views group by 1, 2),

goals as (select app_id, goal_date as day, count(*) as goals from marts.fct_goals group by 1, 2),

errors as (select app_id, error_date as day, count(*) as errors from marts.fct_errors group by 1, 2),

costs as (
    select
        app_id, cost_date as day, sum(requests) as llm_requests, sum(total_tokens) as tokens,
        sum(unpriced_requests) as unpriced_requests, coalesce(sum(cost_usd), 0) as cost_usd
    from marts.agg_cost_daily
    -- the truth knows no other costs
    where requests > 0
    group by app_id, cost_date
)

select * from sessions
full join page_views using (app_id, day)
full join goals using (app_id, day)
full join errors using (app_id, day)
full join costs using (app_id, day)
"""
MEASURES = (
    "sessions", "visitors", "conversions", "messages_received", "widget_opens", "widget_loads",
    "page_views", "goals", "errors", "llm_requests", "tokens", "unpriced_requests", "cost_usd",
)  # fmt: skip


def counts_that_differ(warehouse: Warehouse, truth: dict[str, Any]) -> dict[tuple[str, str, str], tuple]:
    """(app, day, measure) → measured and true count, where they are not the same."""
    with contextlib.closing(connect(warehouse.server)) as connection:
        cursor = connection.execute(BY_APP_AND_DAY)
        names = [column.name for column in cursor.description]
        measured = {(row[0], row[1].isoformat()): dict(zip(names, row, strict=True)) for row in cursor}
    daily = {(day["app_id"], day["day"]): day for day in truth["daily"]}
    assert measured.keys() <= daily.keys()
    differing = {}
    for key, day in daily.items():
        for name in MEASURES:
            found = Decimal(measured.get(key, {}).get(name) or 0)
            if found != Decimal(str(day[name])):
                differing[(*key, name)] = (found, day[name])
    return differing


def test_every_count_of_every_app_and_day(sample_warehouse, sample):
    assert counts_that_differ(sample_warehouse, sample[1]) == {}


def test_messages_sent_from_widget_and_chat(sample_warehouse, sample):
    totals = sample[1]["totals"]["all"]
    widget = sample_warehouse.query("select sum(messages_sent) from marts.agg_session_activity")[0][0]
    assert widget == totals["messages_sent"]
    assert sample_warehouse.query("select sum(messages_sent) from marts.fct_sessions")[0][0] == (
        totals["messages_sent"] + sample[1]["interactions"]["chat_message_sent"]
    )


def test_counters_rise_to_what_was_clicked(sample_warehouse, sample):
    risen = sample_warehouse.query(
        "select name, sum(rise)::bigint from intermediate.int_batch_counters where kind = 'interaction' group by name"
    )
    assert dict(risen) == sample[1]["interactions"]


def test_rejects_are_the_planted_bad_lines(sample_warehouse, sample):
    rejected = dict(
        sample_warehouse.query("select stream, sum(rejected)::bigint from raw.loads where rejected > 0 group by stream")
    )
    planted = {stream: sample[1]["bad_lines"][stream] + sample[1]["bad_elements"][stream] for stream in NAMES}
    assert rejected == planted


def test_people_without_consent_are_rows_of_raw_alone(sample_warehouse, sample):
    rows = [
        sample_warehouse.query(f"select count(distinct content_hash) from raw.{stream} where withheld")[0][0]
        for stream in ("session_batches", "events", "llm_requests")
    ]
    assert sum(rows) == sample[1]["traps"]["without_consent"]
    for relation in ("raw.events", "raw.llm_requests", "raw.session_batches", "marts.fct_sessions"):
        assert sample_warehouse.query(f"select count(*) from {relation} as t where t::text ~ 'private'") == [(0,)]


def test_the_three_incidents_are_found_within_two_buckets(sample_warehouse, sample):
    anomalies = sample_warehouse.query(
        "select kind, app_id, severity, first_seen_at, last_seen_at, grain_minutes from marts.fct_anomalies"
    )
    assert len(sample[1]["incidents"]) == 3
    for incident in sample[1]["incidents"]:
        start, end = (datetime.fromisoformat(incident[edge].replace("Z", "+00:00")) for edge in ("start", "end"))
        found = [
            anomaly
            for anomaly in anomalies
            if anomaly[:2] == (incident["kind"], incident["app_id"])
            and start - timedelta(minutes=anomaly[5]) < anomaly[3] <= start + timedelta(minutes=2 * anomaly[5])
            and anomaly[4] <= end
        ]
        assert found, incident
        assert found[0][2] == "critical"


def test_whatever_is_critical_is_one_of_the_incidents(sample_warehouse, sample):
    spans = [
        (
            incident["app_id"],
            *(datetime.fromisoformat(incident[edge].replace("Z", "+00:00")) for edge in ("start", "end")),
        )
        for incident in sample[1]["incidents"]
    ]
    critical = sample_warehouse.query(
        """
        select anomaly_key, app_id, first_seen_at, last_seen_at + grain_minutes * interval '1 minute'
        from marts.fct_anomalies where severity = 'critical'
        """
    )
    assert critical
    assert [
        key
        for key, app, begun, over in critical
        if not any(app == where and begun < end and over > start for where, start, end in spans)
    ] == []


def test_no_session_ends_before_it_starts_or_lasts_over_a_day(sample_warehouse):
    assert sample_warehouse.query(
        "select count(*) from marts.fct_sessions where ended_at < started_at or duration_seconds >= 86400"
    ) == [(0,)]
