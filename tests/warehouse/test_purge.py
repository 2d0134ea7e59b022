"""Law 3: closing days changes nothing that is kept, now or in a later full build."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import date, datetime, timezone

import pytest

from ingest.connection import connect
from ingest.errors import TidemarkError
from orchestration import closing
from orchestration import purge as library
from orchestration.purge import purge
from orchestration.refresh import take_lock
from tests.warehouse.conftest import Warehouse, assert_same

# What is kept when the events of its days are gone, and the columns of each that say no more than that.
KEPT = {
    "intermediate.int_sessions": ["is_closed"],
    "intermediate.int_visitor_aliases": [],
    "intermediate.int_merged_groups": [],
    "marts.fct_sessions": [],
    "marts.dim_visitors": [],
    "marts.agg_visitors": [],
    "marts.dim_visitor_apps": [],
    "marts.dim_users": [],
    "marts.agg_workspace_visitors": [],
    "marts.dim_workspaces": [],
    "marts.visitor_aliases": [],
    "marts.agg_daily_stats": [],
    "marts.agg_weekly_stats": [],
    "marts.agg_monthly_stats": [],
    "marts.agg_visitor_days": [],
    "marts.agg_visitor_returns": [],
    "marts.agg_visitor_apps": [],
    "marts.dim_visitor_ids": [],
    "marts.agg_session_breakdowns": [],
    "marts.agg_event_daily": [],
    "marts.agg_daily_events": [],
    "marts.fct_llm_requests": [],
    "marts.agg_cost_daily": [],
    "marts.agg_cost_statements": [],
    "marts.agg_cost_coverage": [],
    "marts.agg_cost_charges": [],
    "marts.agg_cost_reconciliation": [],
    "marts.fct_cost_lines": [],
    "marts.fct_cost_allocation": [],
    "marts.agg_unit_costs": [],
    "marts.agg_journey_costs": [],
    "marts.agg_llm_pricing_daily": [],
    "marts.agg_llm_outcomes": [],
    "marts.agg_model_performance": [],
    "marts.agg_model_performance_30d": [],
    "marts.agg_router_daily": [],
    "marts.agg_prompt_effectiveness": [],
    "marts.llm_request_what_if": [],
    "marts.agg_scope_cost_daily": [],
    "marts.agg_budget_status": [],
    "marts.agg_budget_crossings": [],
    "marts.agg_forecast_backtests": [],
    "marts.agg_cost_forecast": [],
    "marts.agg_visitor_flows": [],
    "marts.agg_visitor_backtests": [],
    "marts.agg_visitor_forecast": [],
    "marts.ai_impact": [],
    "marts.agg_ai_comparison": [],
    "marts.agg_revenue": [],
    "marts.agg_revenue_growth": [],
    "marts.agg_user_summary": [],
    "marts.agg_usage_daily": [],
    "marts.agg_feature_model_daily": [],
    "marts.agg_feature_model_latency": [],
    "marts.agg_session_channels": [],
    "marts.agg_traffic_sources": [],
    "marts.agg_channel_sessions": [],
    "marts.fct_conversions": [],
    "marts.fct_attribution": [],
    "marts.agg_attribution": [],
    "marts.agg_ad_costs": [],
    "marts.agg_channel_performance": [],
    "marts.agg_session_campaigns": [],
    "marts.agg_campaigns": [],
    "marts.agg_metric_values": [],
    "marts.metric_observations": [],
    "marts.agg_metric_days": [],
    "marts.fct_bucket_verdicts": [],
    "marts.fct_anomalies": [],
    "marts.fct_audit_events": [],
}
PARTITIONS = """
select relname from pg_class
where relnamespace = 'raw'::regnamespace and relispartition and relkind = 'r' and relname ~ '_202603[0-9]{2}$'
"""


def kept(warehouse: Warehouse) -> dict[str, list[str]]:
    """Relation → its rows as text, sorted, of all that outlives its events."""
    return {
        relation: sorted(
            row for (row,) in warehouse.query(f"select (to_jsonb(t) - %s::text[])::text from {relation} as t", unkept)
        )
        for relation, unkept in KEPT.items()
    }


def rebuild(warehouse: Warehouse) -> None:
    """Refresh, every model built whole."""
    warehouse.query("delete from ops.model_state returning 1")
    assert len(warehouse.refresh().rebuilt) > 20


def event(number: int, at: str, **more: str) -> bytes:
    record = {"eventId": f"e{number}", "eventName": "clicked", "appId": "shop", "anonymousId": "a1"}
    return json.dumps(record | {"timestamp": at} | more).encode()


@pytest.fixture
def built(received_as_made: Warehouse) -> Warehouse:
    """The small sample, received as it was made, built. Copied, never changed."""
    return received_as_made


def test_closing_days_changes_nothing_that_is_kept(built, copy_warehouse):
    warehouse = copy_warehouse(built)
    before = kept(warehouse)
    events = warehouse.query("select count(*) from marts.fct_events where event_date >= '2026-03-30'")
    for day in (26, 30):
        went_on = warehouse.query(
            "select count(*) from marts.fct_sessions where %s between started_at and ended_at", at(day, 0, 0)
        )
        done = purge(warehouse.server, date(2026, 3, day))
        assert done.closed_visits > 100
        assert done.partitions
        assert done.carried_rows >= went_on[0][0]
        run = warehouse.refresh()
        assert (run.tests_failed, run.rebuilt) == ([], [])
        assert_same(before, kept(warehouse))
    assert warehouse.query("select count(*) from marts.fct_events where event_date >= '2026-03-30'") == events
    # What is left of the days before lies in visits that went on.
    early = "from raw.events where received_at < '2026-03-29'"
    assert warehouse.query(f"select count(*) {early} and retention_class = 'analytics' and not carried") == [(0,)]
    rebuild(warehouse)
    assert_same(before, kept(warehouse))
    assert warehouse.refresh(check_all=True).tests_failed == []


@pytest.fixture(scope="module")
def clicks(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """One visitor: an hour on 1 March, an evening that runs over midnight of the 3rd, built. Copied, never changed."""
    warehouse = make_warehouse()
    warehouse.load(
        "events",
        [
            event(1, "2026-03-01T10:00:00Z"),
            event(2, "2026-03-01T10:20:00Z"),
            event(3, "2026-03-02T23:40:00Z"),
            event(4, "2026-03-03T00:05:00Z"),
        ],
    )
    warehouse.refresh()
    return warehouse


def sessions(warehouse: Warehouse) -> list[tuple]:
    return warehouse.query(
        "select started_at, ended_at, event_count, user_id from marts.fct_sessions order by started_at"
    )


def at(day: int, hour: int, minute: int) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=timezone.utc)


def test_a_visit_over_the_horizon_goes_on(clicks, copy_warehouse):
    warehouse = copy_warehouse(clicks)
    done = purge(warehouse.server, date(2026, 3, 3))
    assert (done.closed_visits, done.carried_rows, done.horizon) == (1, 1, at(3, 0, 0))
    warehouse.refresh()
    warehouse.load("events", [event(5, "2026-03-03T00:20:00Z")])
    warehouse.refresh()
    expected = [
        (at(1, 10, 0), at(1, 10, 20), 2, None),
        (at(2, 23, 40), at(3, 0, 20), 3, None),
    ]
    assert sessions(warehouse) == expected
    # Its events are still there, those of the closed visit are not.
    assert warehouse.query("select event_id from marts.fct_events order by 1") == [("e3",), ("e4",), ("e5",)]
    rebuild(warehouse)
    assert sessions(warehouse) == expected


def test_a_run_is_cut_where_it_would_have_been_without_a_purge(make_warehouse):
    """Activity every 25 minutes from 1 March 12:00 on: cut at noon of each day, whatever days are closed."""
    purged, whole = make_warehouse(), make_warehouse()
    steps = [event(n, datetime.fromtimestamp(at(1, 12, 0).timestamp() + 1500 * n, timezone.utc).isoformat())
             for n in range(240)]  # fmt: skip
    whole.load("events", steps)
    whole.refresh()
    # Four days and four hours: the fifth visit begins at noon of the 5th.
    assert [row[0].hour for row in sessions(whole)] == [12, 12, 12, 12, 12]
    purged.load("events", steps[:150])
    purged.refresh()
    purge(purged.server, date(2026, 3, 3))
    purged.refresh()
    purge(purged.server, date(2026, 3, 4))
    purged.refresh()
    purged.load("events", steps[150:])
    purged.refresh()
    assert sessions(purged) == sessions(whole)
    rebuild(purged)
    assert sessions(purged) == sessions(whole)


def test_closed_visits_follow_a_sign_in_weeks_later(clicks, copy_warehouse):
    warehouse = copy_warehouse(clicks)
    purge(warehouse.server, date(2026, 3, 4))
    warehouse.refresh()
    warehouse.load("events", [event(5, "2026-03-25T09:00:00Z", userId="u1")])
    run = warehouse.refresh()
    assert run.rebuilt == []
    assert [row[3] for row in sessions(warehouse)] == ["u1", "u1", "u1"]
    assert warehouse.query("select user_id, total_sessions, total_events, first_seen_at from marts.dim_visitors") == [
        ("u1", 3, 5, at(1, 10, 0))
    ]
    assert warehouse.query("select sum(new_visitors) from marts.agg_daily_stats") == [(1,)]


def test_a_sign_in_of_a_closed_day_still_tells_whose_a_later_visit_is(make_warehouse):
    warehouse = make_warehouse()
    warehouse.load("events", [event(1, "2026-03-01T10:00:00Z", userId="u1")])
    warehouse.refresh()
    purge(warehouse.server, date(2026, 3, 2))
    warehouse.load("events", [event(2, "2026-03-20T10:00:00Z")])
    rebuild(warehouse)
    assert [row[3] for row in sessions(warehouse)] == ["u1", "u1"]


def test_what_comes_too_late_changes_nothing_and_is_counted(clicks, copy_warehouse):
    warehouse = copy_warehouse(clicks)
    before = sessions(warehouse)
    purge(warehouse.server, date(2026, 3, 3))
    warehouse.refresh()
    # Within the visit that is still open, and yet of a closed day.
    warehouse.load("events", [event(6, "2026-03-02T23:50:00Z"), event(7, "2026-03-01T10:10:00Z")])
    warehouse.refresh()
    assert sessions(warehouse) == before
    assert warehouse.query("select reason, records from marts.agg_kept_out") == [("before the horizon", 2)]
    # Nor does a second purge take it in.
    purge(warehouse.server, date(2026, 3, 4))
    warehouse.refresh()
    assert sessions(warehouse) == before
    assert warehouse.query("select sum(records) from marts.agg_kept_out") == [(2,)]


def test_an_id_told_again_after_the_horizon_still_counts_once(make_warehouse):
    warehouse = make_warehouse()
    warehouse.load("events", [event(1, "2026-03-01T10:00:00Z"), event(1, "2026-03-05T10:00:00Z")])
    warehouse.load("events", [event(2, "2026-03-05T10:01:00Z")])
    warehouse.refresh()
    before = sessions(warehouse)
    assert [row[2] for row in before] == [1, 1]
    purge(warehouse.server, date(2026, 3, 3))
    rebuild(warehouse)
    assert sessions(warehouse) == before


def test_a_total_of_the_session_is_set_off_against_its_closed_visits(make_warehouse):
    """Three messages on day one, a total of five told on day four: two are missing there, not five."""
    session = {"appId": "bot", "sessionId": "s1"}
    warehouse = make_warehouse()
    warehouse.load(
        "events",
        [
            json.dumps(
                {"eventId": f"m{n}", "eventName": "message_sent", "timestamp": f"2026-03-01T10:0{n}:00Z"} | session
            ).encode()
            for n in range(3)
        ],
    )
    warehouse.refresh()
    purge(warehouse.server, date(2026, 3, 2))
    told = {"eventName": "session_upsert", "timestamp": "2026-03-04T10:00:00Z", "properties": {"messages_sent": 5}}
    warehouse.load("events", [json.dumps(told | session).encode()])
    warehouse.refresh()
    assert warehouse.query("select messages_sent from marts.fct_sessions order by started_at") == [(3,), (2,)]


def test_a_purge_is_refused_where_it_would_lose_something(clicks, copy_warehouse):
    warehouse = copy_warehouse(clicks)
    with pytest.raises(TidemarkError, match="lies in the future"):
        purge(warehouse.server, date(2999, 1, 1))
    warehouse.load("events", [event(8, "2026-03-02T10:00:00Z")])
    with pytest.raises(TidemarkError, match="tell of days before 2026-03-03: run `make refresh`"):
        purge(warehouse.server, date(2026, 3, 3))
    # Loads that tell of open days alone may wait.
    assert purge(warehouse.server, date(2026, 3, 2)).closed_visits == 1
    with pytest.raises(TidemarkError, match="not complete: run `make refresh`"):
        purge(warehouse.server, date(2026, 3, 3))
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        take_lock(connection, "prod")
        with pytest.raises(TidemarkError, match="Another refresh of prod is running"):
            purge(warehouse.server, date(2026, 3, 3))
    warehouse.refresh()
    assert purge(warehouse.server, date(2026, 3, 3)).closed_visits == 1


def test_a_purge_that_breaks_off_is_finished_by_the_next(built, copy_warehouse, monkeypatch):
    warehouse = copy_warehouse(built)
    before = kept(warehouse)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # Before its transaction ends: nothing is closed.
        patch.setattr(closing, "TOUCH", "select 1 / 0")
        with pytest.raises(Exception, match="division by zero"):
            purge(warehouse.server, date(2026, 3, 28))
    assert warehouse.query("select horizon = '-infinity' from ops.horizon") == [(True,)]
    assert warehouse.query("select count(*) from history.closed_visits") == [(0,)]
    with monkeypatch.context() as patch:
        # After it: the days are closed, the partitions still there.
        patch.setattr(library, "drop_partition", killed)
        with pytest.raises(KeyboardInterrupt):
            purge(warehouse.server, date(2026, 3, 28))
    partitions = len(warehouse.query(PARTITIONS))
    warehouse.refresh()
    done = purge(warehouse.server, date(2026, 3, 28))
    assert (done.closed_visits, len(warehouse.query(PARTITIONS))) == (0, partitions - len(done.partitions))
    assert done.partitions
    assert_same(before, kept(warehouse))


def test_partitions_that_loads_keep_locked_are_left_and_said(built, copy_warehouse, monkeypatch):
    warehouse = copy_warehouse(built)
    monkeypatch.setattr(library, "LOCK_TIMEOUT", "100ms")
    with contextlib.closing(connect(warehouse.server)) as load:
        load.execute("lock table raw.events in row exclusive mode")
        load.execute("lock table raw.session_batches in row exclusive mode")
        with pytest.raises(TidemarkError, match=r"The days are closed; [0-9]+ partitions are left"):
            purge(warehouse.server, date(2026, 3, 28))
    warehouse.refresh()
    assert purge(warehouse.server, date(2026, 3, 28)).partitions
