{{ config(materialized='view') }}

with

daily as (
    {{ visitors_by_measure() }}
),

-- apps with a visitor lately or this year
series as (
    select
        daily.app_id,
        daily.measure,
        today.today,
        min(daily.day) as first_date,
        greatest(min(daily.day), today.today - {{ forecast_setting('backtest_days') }}::integer) as start_date
    from daily
    cross join (select {{ utc_date(as_of()) }} as today) as today
    where daily.value > 0
    group by daily.app_id, daily.measure, today.today
    having
        max(daily.day) >= least({{ period_start("'year'", 'today.today') }}, today.today - 7 * {{ forecast_weeks() }})
),

{{ expected_values(['app_id', 'measure']) }}

select
    -- ids
    app_id,
    measure,
    day as stat_date,

    -- measures
    history_days,
    days_read,
    value::bigint as visitors,
    counted as counted_visitors,
    expected as expected_visitors
from expected
