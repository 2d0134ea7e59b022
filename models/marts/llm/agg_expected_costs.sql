{{ config(materialized='view') }}

with

today as (
    select {{ utc_date(as_of()) }} as today
),

-- whatever cost something lately or this year; of users those with a budget alone
series as (
    select
        costs.scope,
        costs.scope_value,
        today.today,
        min(costs.cost_date) as first_date,
        greatest(min(costs.cost_date), today.today - {{ forecast_setting('backtest_days') }}::integer) as start_date
    from {{ ref('agg_scope_cost_daily') }} as costs
    cross join today
    where
        costs.cost_date < today.today
        and (
            costs.scope <> 'user'
            or costs.scope_value in (select budgets.scope_value from {{ ref('budgets') }} where budgets.scope = 'user')
        )
    group by costs.scope, costs.scope_value, today.today
    having
        max(costs.cost_date)
        >= least({{ period_start("'year'", 'today.today') }}, today.today - 7 * {{ forecast_setting('weeks') }}::integer)
),

days as (
    select
        series.scope,
        series.scope_value,
        series.first_date,
        series.start_date,
        each_day::date as cost_date,
        coalesce(costs.cost_usd, 0) as cost_usd
    from series
    cross join lateral generate_series(
        series.start_date::timestamp, series.today - interval '1 day', interval '1 day'
    ) as each_day
    left join {{ ref('agg_scope_cost_daily') }} as costs
        on series.scope = costs.scope and series.scope_value = costs.scope_value and each_day::date = costs.cost_date
),

limited as (
    select
        *,
        {{ forecast_setting('outlier_factor') }} * nullif(max(abs(cost_usd)) over (
            partition by scope, scope_value order by cost_date
            rows between {{ forecast_setting('outlier_days') }} preceding and 1 preceding
        ), 0) as most_usd
    from days
),

-- one broken price must not become an expectation
capped as (
    select
        *,
        greatest(least(cost_usd, most_usd), -most_usd) as counted_usd
    from limited
)

select
    -- ids
    scope,
    scope_value,
    cost_date,

    -- measures
    cost_date + 1 - first_date as history_days,
    cost_date + 1 - start_date as days_read,
    cost_usd,
    counted_usd,
    avg(counted_usd) over (
        partition by scope, scope_value, extract(isodow from cost_date) order by cost_date
        rows between {{ forecast_setting('weeks') }} - 1 preceding and current row
    ) as expected_usd
from capped
