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

days as (
    select
        series.scope,
        series.scope_value,
        series.first_date,
        series.start_date,
        each_day::date as cost_date,
        coalesce(costs.cost_usd, 0) as cost_usd
    from series
    cross join
        lateral generate_series(
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
            rows between {{ usual_days() }} preceding and 1 preceding
        ), 0) as most_usd
    from days
),

-- one broken price must not become an expectation
capped as (
    select
        *,
        greatest(least(cost_usd, most_usd), -most_usd) as counted_usd,
        (cost_date - date '1970-01-05') / 7 as week,
        {{ forecast_weeks() }} as weeks
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
    -- of so many weeks the earliest weighs 1, the next one 2, …
    round(
        (sum(counted_usd * week) over last_weeks - (week - weeks) * sum(counted_usd) over last_weeks)
        / (sum(week) over last_weeks - (week - weeks) * count(*) over last_weeks), 6
    ) as expected_usd
from capped
window last_weeks as (
    partition by scope, scope_value, extract(isodow from cost_date) order by cost_date
    rows between {{ forecast_weeks() | int - 1 }} preceding and current row
)
