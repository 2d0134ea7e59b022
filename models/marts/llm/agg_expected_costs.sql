{{ config(materialized='view') }}

with

today as (
    select {{ utc_date(as_of()) }} as today
),

-- whatever cost something lately or this year
costly as (
    select
        costs.scope,
        costs.scope_value,
        today.today,
        min(costs.cost_date) as first_date,
        greatest(min(costs.cost_date), today.today - {{ forecast_setting('backtest_days') }}::integer) as start_date,
        coalesce(sum(costs.cost_usd) filter (where costs.cost_date >= today.today - {{ usual_days() }}), 0)
            as lately_usd
    from {{ ref('agg_scope_cost_daily') }} as costs
    cross join today
    where costs.cost_date < today.today
    group by costs.scope, costs.scope_value, today.today
    having
        max(costs.cost_date)
        >= least({{ period_start("'year'", 'today.today') }}, today.today - 7 * {{ forecast_weeks() }})
),

ranked as (
    select *, row_number() over (partition by scope order by lately_usd desc, scope_value) as place
    from costly
),

series as (
    select * from ranked
    where
        place <= {{ forecast_setting('values_per_scope') }}
        or (scope, scope_value) in (select scope, scope_value from {{ ref('budgets') }})
),

daily as (
    select scope, scope_value, cost_date as day, cost_usd as value from {{ ref('agg_scope_cost_daily') }}
),

{{ expected_values(['scope', 'scope_value']) }}

select
    -- ids
    scope,
    scope_value,
    day as cost_date,

    -- measures
    history_days,
    days_read,
    value as cost_usd,
    counted as counted_usd,
    expected as expected_usd
from expected
