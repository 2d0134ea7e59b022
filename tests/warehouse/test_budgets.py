"""Alerts of budgets are given once and for good; a forecast reads only what came before it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from ingest.connection import connect
from orchestration import budget_alerts
from tests.warehouse.conftest import Warehouse, copied_project, without_server_variables

BUDGETS = """budget,scope,scope_value,period,amount_usd,valid_from,valid_to
monthly,total,all,month,100,2026-03-01,
nothing_for_trials,app,trial,month,0,2026-03-01,
"""
ALERTS = """
select budget, threshold_rate, period_start_date::text, crossed_date::text, amount_usd, spent_usd, given_at
from marts.fct_budget_alerts order by threshold_rate, budget
"""


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project with two budgets of its own, that this module builds from."""
    with copied_project(tmp_path_factory.mktemp("budgets") / "project") as folder:
        (folder / "seeds" / "budgets.csv").write_text(BUDGETS, encoding="utf-8")
        yield folder


@pytest.fixture(scope="module")
def built(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """60 of 100 dollars spent on 10 March, built as of the 11th. Copied, never changed."""
    warehouse = make_warehouse()
    warehouse.load("llm_requests", [request(1, "2026-03-10", "60.00")])
    warehouse.refresh("2026-03-11T00:00:00Z")
    return warehouse


def request(number: int, day: str, cost: str, app: str = "shop") -> bytes:
    record = {"requestId": f"r{number}", "sessionId": f"s{number}", "modelId": "gpt-4", "appId": app, "cost": cost}
    return json.dumps(record | {"timestamp": f"{day}T12:00:00Z"}).encode()


def alert(threshold: str, crossed: str, spent: str, given_day: int) -> tuple:
    given_at = datetime(2026, 3, given_day, tzinfo=timezone.utc)
    return ("monthly", Decimal(threshold), "2026-03-01", crossed, Decimal(100), Decimal(spent), given_at)


def kill_refresh_before_its_mark_moves(warehouse: Warehouse, project: Path, as_of: str) -> None:
    """Kill a refresh, and its connections, in the midst of the transaction that moves the mark."""
    waiting = "select pid from pg_locks where relation = 'ops.model_state'::regclass and not granted"
    with (
        contextlib.closing(connect(warehouse.server)) as holder,
        contextlib.closing(connect(warehouse.server, autocommit=True)) as reader,
    ):
        holder.execute("lock table ops.model_state in exclusive mode")
        running = subprocess.Popen(
            [sys.executable, "-m", "orchestration", "refresh", "--no-inbox", "--quiet"],
            env=without_server_variables() | warehouse.server.environment() | {"TIDEMARK_AS_OF": as_of},
            cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 180
            while not (backend := reader.execute(waiting).fetchone()):
                assert running.poll() is None, "the refresh ended before it came to its end"
                assert time.monotonic() < deadline, "the refresh never came to its end"
                time.sleep(0.05)
        finally:
            running.kill()
            running.wait()
        reader.execute("select pg_terminate_backend(%s, 60000)", [backend[0]])


def test_a_first_crossing_is_told_once_whatever_comes_later(project, built, copy_warehouse):
    warehouse = copy_warehouse(built)
    given = [alert("0.5", "2026-03-10", "60", 11)]
    assert warehouse.query(ALERTS) == given

    # What a killed refresh saw is not told before one completes, and then once.
    warehouse.load("llm_requests", [request(2, "2026-03-12", "20.00")])
    kill_refresh_before_its_mark_moves(warehouse, project, "2026-03-13T00:00:00Z")
    assert warehouse.query("select spent_usd from marts.agg_budget_status where budget = 'monthly'") == [(80,)]
    assert warehouse.query(ALERTS) == given
    warehouse.refresh("2026-03-14T00:00:00Z")
    given.append(alert("0.75", "2026-03-12", "80", 14))
    assert warehouse.query(ALERTS) == given

    # Late costs cross a threshold, and move the crossings told already: those stay as they were told, and so they do
    # when costs are built whole.
    warehouse.load("llm_requests", [request(3, "2026-03-02", "15.00")])
    warehouse.query("delete from ops.model_state where model = 'agg_cost_daily' returning 1")
    assert "agg_scope_cost_daily" in warehouse.refresh("2026-03-15T00:00:00Z").rebuilt
    given.append(alert("0.9", "2026-03-12", "95", 15))
    assert warehouse.query(ALERTS) == given
    crossings = "select threshold_rate, crossed_date::text, spent_usd from marts.agg_budget_crossings order by 1"
    assert warehouse.query(crossings)[:2] == [(Decimal(rate), "2026-03-10", 75) for rate in ("0.5", "0.75")]

    with contextlib.closing(connect(warehouse.server)) as connection:
        # A greater amount takes none back.
        connection.execute("update staging.budgets set amount_usd = 1000 where budget = 'monthly'")
        assert connection.execute(crossings).fetchall() == []
        assert give(connection, "prod") == 0
        assert connection.execute(ALERTS).fetchall() == given
        connection.execute("update staging.budgets set amount_usd = 100 where budget = 'monthly'")
        assert give(connection, "prod") == 0
        # Another target has its own, and production does not show them.
        assert (give(connection, "dev_ann"), give(connection, "dev_ann")) == (3, 0)
        assert connection.execute(ALERTS).fetchall() == given
        keys = "select distinct alert_key from marts.fct_budget_alerts where scope = 'total' and scope_value = 'all'"
        assert len(connection.execute(keys).fetchall()) == 3


def give(connection: psycopg.Connection, target: str) -> int:
    """Alerts given to a target as by a refresh that saw production's marts."""
    manifest = {"nodes": {budget_alerts.CROSSINGS: {"schema": "marts", "alias": "agg_budget_crossings"}}}
    return budget_alerts.give(connection, target, manifest, 99, datetime(2026, 3, 17, tzinfo=timezone.utc))


MONDAY = date(2026, 3, 16)
INSERT = """
insert into marts.agg_scope_cost_daily (scope, scope_value, cost_date, unpriced_requests, cost_usd)
select 'team', series.name, series.day, 0, series.cost
from unnest(%s::text[], %s::date[], %s::numeric[]) as series (name, day, cost)
returning 1
"""
FORECASTS = """
select basis, spent_usd, forecast_usd, lower_usd, upper_usd, backtests
from marts.agg_cost_forecast where scope_value = %s and period = %s
"""
BACKTESTS = """
select origin_date, horizon_days, forecast_usd, trailing_mean_usd, naive_usd, actual_usd
from marts.agg_forecast_backtests
where scope_value = 'broken in January' and origin_date + case when %s then horizon_days else 0 end <= %s
order by 1, 2
"""


@pytest.fixture(scope="module")
def series(built: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]) -> Warehouse:
    """Teams with made-up daily costs before Monday 16 March: 20 weeks of 10 dollars on Monday to 70 on Sunday, but for
    one Wednesday of 9,990, in two teams; and 34 and 35 days of a dollar."""
    warehouse = copy_warehouse(built)
    warehouse.query("delete from marts.agg_scope_cost_daily returning 1")
    days = [MONDAY - timedelta(back) for back in range(1, 20 * 7 + 1)]
    costs = [
        (team, day, 9990 if day == broken else 10 * day.isoweekday())
        for team, broken in (("steady", date(2026, 3, 11)), ("broken in January", date(2026, 1, 28)))
        for day in days
    ]
    costs += [(f"of {length} days", day, 1) for length in (34, 35) for day in days[:length]]
    warehouse.query(INSERT, *map(list, zip(*costs, strict=True)))
    warehouse.refresh("2026-03-16T09:00:00Z")
    return warehouse


def test_a_forecast_repeats_the_weekdays_and_counts_a_broken_price_as_twice_the_dearest_day(series):
    # Wednesdays of 30 weigh 1 to 4, the last one counts as twice 70 and weighs 5.
    wednesday = round(Decimal(30 * (1 + 2 + 3 + 4) + 140 * 5) / 15, 6)
    week = 280 - 30 + wednesday
    ((basis, spent, forecast, lower, upper, backtests),) = series.query(FORECASTS, "steady", "week")
    assert (basis, spent, forecast) == ("back-tested", 0, week)
    # 15 Mondays had five weeks before them and a week after. 14 of their outcomes are 1, one is
    # (280 - 30 + 9990) / 280; the upper bound stands at place 0.9 * 16 of 15, the lower one at 0.1 * 16.
    assert backtests == 15
    assert lower == forecast
    assert float(upper) == pytest.approx(float(week) * (1 + 0.4 * (10240 / 280 - 1)))
    # 16 to 31 March: two weeks, a Monday and a Tuesday. 1 March was a Sunday.
    ((basis, spent, forecast, *_),) = series.query(FORECASTS, "steady", "month")
    assert spent == 70 + 280 + 280 - 30 + 9990
    assert forecast == spent + 2 * week + 10 + 20
    beside = "select trailing_mean_usd, naive_usd from marts.agg_forecast_backtests"
    assert series.query(f"{beside} where scope_value = 'steady' and origin_date = %s and horizon_days = 7", MONDAY) == [
        (round(Decimal(4 * 280 - 30 + 9990) / 4, 6), 280 - 30 + 9990)
    ]


def test_a_short_history_gives_no_number(series):
    for period in ("day", "week", "month", "quarter", "year"):
        ((basis, _, *numbers, backtests),) = series.query(FORECASTS, "of 34 days", period)
        assert (basis, numbers, backtests) == ("short history", [None] * 3, 0)
    # Five weeks will do for as many days ahead, without any test of it yet.
    assert series.query(FORECASTS, "of 35 days", "month") == [("untested", 15, 31, None, None, 0)]
    # 20 weeks will not do for the rest of the year.
    assert series.query(FORECASTS, "steady", "year")[0][0] == "short history"


def test_what_comes_later_changes_no_earlier_back_test(series, copy_warehouse):
    moment = date(2026, 2, 2)
    forecasts = [row[:5] for row in series.query(BACKTESTS, False, moment)]
    outcomes = series.query(BACKTESTS, True, moment)
    later = series.query(BACKTESTS, False, MONDAY)
    assert len(forecasts) > 20
    assert len(outcomes) > 10
    changed = copy_warehouse(series)
    changed.query(
        "update marts.agg_scope_cost_daily set cost_usd = 50 * cost_usd - 100 where cost_date >= %s returning 1", moment
    )
    # Nothing that a refresh knows of has changed these costs.
    changed.query("delete from marts.agg_forecast_backtests returning 1")
    changed.refresh("2026-03-16T09:00:00Z")
    assert [row[:5] for row in changed.query(BACKTESTS, False, moment)] == forecasts
    assert changed.query(BACKTESTS, True, moment) == outcomes
    assert changed.query(BACKTESTS, False, MONDAY) != later


def test_forecasts_are_made_on_a_new_day_and_where_past_days_cost_something_else(built, copy_warehouse):
    warehouse = copy_warehouse(built)
    total = "select max(xmin::text), count(*) from marts.agg_forecast_backtests where scope = 'total'"

    def written_anew(as_of: str) -> bool:
        before = warehouse.query(total)
        warehouse.refresh(as_of)
        return warehouse.query(total) != before

    spent = "select spent_usd from marts.agg_cost_forecast where scope = 'total' and period = 'month'"
    warehouse.load("llm_requests", [request(7, "2026-03-11", "1.00")])
    assert not written_anew("2026-03-11T13:00:00Z")
    assert warehouse.query(spent) == [(61,)]
    warehouse.load("llm_requests", [request(8, "2026-03-10", "1.00")])
    assert written_anew("2026-03-11T14:00:00Z")
    assert not written_anew("2026-03-11T15:00:00Z")
    assert written_anew("2026-03-12T00:00:00Z")
    assert warehouse.query(spent) == [(62,)]


def test_the_dearest_values_are_forecast_and_those_with_a_budget(project, built, copy_warehouse):
    warehouse = copy_warehouse(built)
    users = [(f"u{number}", date(2026, 3, 10), number) for number in range(1, 103)]
    statement = INSERT.replace("'team'", "'user'")
    warehouse.query(statement, *map(list, zip(*users, strict=True)))
    budgets = project / "seeds" / "budgets.csv"
    budgets.write_text(BUDGETS + "of_one,user,u1,month,5,2026-03-01,\n", encoding="utf-8")
    try:
        warehouse.refresh("2026-03-12T00:00:00Z")
    finally:
        budgets.write_text(BUDGETS, encoding="utf-8")
    forecast = "select scope_value from marts.agg_cost_forecast where scope = 'user' and period = 'month'"
    # Whoever has no name cost 60 dollars.
    known = {user for (user,) in warehouse.query(forecast)} - {"unattributed"}
    assert known == {"u1"} | {f"u{number}" for number in range(4, 103)}
