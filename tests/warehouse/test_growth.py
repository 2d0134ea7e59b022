"""Who came, came back and stayed away, day by day, and what is to be expected of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest

from tests.warehouse.conftest import Warehouse, assert_same

FIRST, LAST = date(2026, 1, 5), date(2026, 4, 20)
DAYS = [FIRST + timedelta(number) for number in range((LAST - FIRST).days + 1)]
AS_OF = f"{LAST + timedelta(1)}T09:00:00Z"


def events_of(visits: dict[tuple[str, str], set[date]]) -> list[bytes]:
    return [
        json.dumps(
            {
                "eventId": f"{app}-{visitor}-{day}",
                "eventName": "clicked",
                "funnelId": app,
                "anonymousId": f"{app}-{visitor}",
                "timestamp": f"{day}T10:00:00Z",
            }
        ).encode()
        for (app, visitor), days in visits.items()
        for day in sorted(days)
    ]


def flows_of(visits: dict[tuple[str, str], set[date]]) -> list[tuple]:
    """(app, day, unique, new, resurrected, churned, active) worked out visitor by visitor."""
    found = []
    for app in sorted({app for app, _ in visits}):
        of_app = [sorted(days) for (one, _), days in visits.items() if one == app]
        day = min(days[0] for days in of_app)
        while day <= LAST + timedelta(1):
            numbers = [0] * 5
            for days in of_app:
                earlier = [one for one in days if one < day]
                away = (day - earlier[-1]).days if earlier else None
                here = day in days
                numbers[0] += here
                numbers[1] += here and away is None
                numbers[2] += here and away is not None and away > 30
                numbers[3] += away == 31
                numbers[4] += here or (away is not None and away <= 30)
            found.append((app, day, *numbers))
            day += timedelta(1)
    return found


FLOWS = """
select app_id, stat_date, unique_visitors, new_visitors, resurrected_visitors, churned_visitors, active_visitors
from marts.agg_visitor_flows order by 1, 2
"""


def test_flows_are_those_worked_out_visitor_by_visitor(make_warehouse: Callable[[], Warehouse]):
    chance = random.Random(5)
    visits = {
        (app, f"v{number}"): set(chance.sample(DAYS, chance.choice((1, 1, 2, 3, 6, 30))))
        for app in ("shop", "desk")
        for number in range(40)
    }
    # away for exactly 30 days, for 31 and for 32
    visits |= {("shop", f"w{away}"): {DAYS[3], DAYS[3] + timedelta(away)} for away in (30, 31, 32)}
    warehouse = make_warehouse()
    told = events_of(visits)
    chance.shuffle(told)
    warehouse.load("events", told[::2])
    warehouse.refresh(AS_OF)
    warehouse.load("events", told[1::2])
    warehouse.refresh(AS_OF)
    assert warehouse.query(FLOWS) == flows_of(visits)
    expected = warehouse.contents()
    warehouse.query("delete from ops.model_state returning 1")
    warehouse.refresh(AS_OF)
    # of series too whose days changed at both ends of more than eight weeks
    assert_same(expected, warehouse.contents())
    # where the visits of the first weeks are gone, days begin when all is known again
    warehouse.query("delete from marts.agg_visitor_returns where stat_date < '2026-02-01' returning 1")
    begin = {
        app: min(day for (one, _), days in visits.items() if one == app for day in days if day >= date(2026, 2, 1))
        + timedelta(31)
        for app in ("shop", "desk")
    }
    assert warehouse.query(FLOWS) == [row for row in flows_of(visits) if row[1] >= begin[row[0]]]


MONDAY = date(2026, 3, 16)
MADE_UP = """
with days as (
    select day, 10 * extract(isodow from day)::integer * case when day = '2026-03-11' then 100 else 1 end as visitors
    from (select %s::date - back as day from generate_series(1, 26 * 7) as back) as days
),
returns as (
    insert into marts.agg_visitor_returns (app_id, stat_date, unique_visitors, after_days, returned_visitors)
    select 'shop', day, visitors, '{}', '{}' from days
)
insert into marts.agg_daily_stats (
    app_id, stat_date, total_sessions, unique_visitors, new_visitors, returning_visitors, total_conversations,
    avg_messages_per_session, widget_loads, widget_opens, conversion_rate, response_count, error_count, page_views,
    goals, converted_sessions, top_referrers, top_landing_pages, utm_sources, desktop_sessions, mobile_sessions,
    tablet_sessions
)
select
    'shop', day, visitors, visitors, visitors, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '[]', '[]', '[]', 0, 0, 0
from days
returning 1
"""
FORECAST = """
select basis, visitors, forecast_visitors, lower_visitors, upper_visitors, backtests
from marts.agg_visitor_forecast where app_id = 'shop' and measure = %s and period = %s
"""


@pytest.fixture(scope="module")
def weeks(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """26 weeks of 10 new visitors on Monday to 70 on Sunday who never come back; last Wednesday robots came, 3,000."""
    warehouse = make_warehouse()
    warehouse.load("events", events_of({("desk", "v1"): {MONDAY - timedelta(2)}}))
    warehouse.refresh("2026-03-15T09:00:00Z")
    warehouse.query(MADE_UP, MONDAY)
    warehouse.refresh("2026-03-16T09:00:00Z")
    return warehouse


def test_new_visitors_repeat_the_weekdays_and_a_flood_counts_as_twice_the_most(weeks):
    # Wednesdays of 30 weigh 1 to 4, the last one counts as twice 70 and weighs 5.
    week = 280 - 30 + round(Decimal(30 * (1 + 2 + 3 + 4) + 140 * 5) / 15, 6)
    ((basis, so_far, forecast, lower, upper, backtests),) = weeks.query(FORECAST, "new", "week")
    assert (basis, so_far, forecast) == ("back-tested", 0, week)
    # 21 Mondays had five weeks before them and a week after: all but the last came as forecast.
    assert backtests == 21
    assert lower == forecast == upper
    ((_, so_far, forecast, *_),) = weeks.query(FORECAST, "new", "month")
    assert so_far == 70 + 280 + 280 - 30 + 3000
    assert forecast == so_far + 2 * week + 10 + 20
    assert weeks.query(FORECAST, "unique", "week") == weeks.query(FORECAST, "new", "week")


def test_churn_is_forecast_from_those_who_stayed_away(weeks):
    # Who came on a Friday, 40 or 50 of them, is dormant on a Monday 31 days later: 50, 60, 70, 10, 20, 30, 40.
    ((basis, so_far, forecast, lower, upper, _),) = weeks.query(FORECAST, "churned", "week")
    assert (basis, so_far, forecast, lower, upper) == ("back-tested", 50, 280, 280, 280)
    # The robots of the 11th are gone on the 11th of April: no part of what is expected.
    last_week = "stat_date between '2026-03-09' and '2026-03-15'"
    assert weeks.query(f"select sum(churned_visitors) from marts.agg_visitor_flows where {last_week}") == [(280,)]


def test_what_never_happened_is_not_forecast(weeks):
    assert weeks.query(FORECAST, "resurrected", "month") == []


def test_a_short_history_gives_no_number(weeks, copy_warehouse):
    warehouse = copy_warehouse(weeks)
    for table in ("agg_visitor_returns", "agg_daily_stats"):
        warehouse.query(f"delete from marts.{table} where stat_date < %s returning 1", MONDAY - timedelta(34))
    warehouse.query("delete from marts.agg_visitor_backtests returning 1")
    warehouse.refresh("2026-03-16T09:30:00Z")
    ((basis, _, *numbers, backtests),) = warehouse.query(FORECAST, "new", "week")
    assert (basis, numbers, backtests) == ("short history", [None] * 3, 0)
