{{ config(materialized='table') }}

with

today as (
    select {{ utc_date(as_of()) }} as today
),

-- days from today to the end of the running periods, today included
horizons as (
    select distinct
        today.today,
        ({{ period_start('period', 'today.today') }} + {{ period_length('period') }})::date
        - today.today as horizon_days
    from today
    cross join unnest(array['day', 'week', 'month', 'quarter', 'year']) as period
),

-- running totals: what any span of days cost, or is expected to cost, is a difference of two
totals as (
    select
        *,
        sum(expected_usd) over by_day as expected_total,
        sum(cost_usd) over by_day as cost_total
    from {{ ref('agg_expected_costs') }}
    window by_day as (partition by scope, scope_value order by cost_date)
),

eves as (
    select
        *,
        lag(expected_total, 7, 0) over by_day as expected_week_before,
        lag(cost_total, 7, 0) over by_day as cost_week_before,
        lag(cost_total, 28, 0) over by_day as cost_four_weeks_before
    from totals
    window by_day as (partition by scope, scope_value order by cost_date)
),

-- a forecast looks no further ahead than its history goes back
origins as (
    select
        eves.*,
        eves.cost_date + 1 as origin_date,
        eves.cost_date + 1 = horizons.today as is_today,
        horizons.horizon_days,
        eves.history_days >= greatest(7 * {{ forecast_weeks() }}, horizons.horizon_days) as has_history
    from eves
    cross join horizons
),

-- today, and every Monday that finds all days its forecast reads
chosen as (
    select * from origins
    where
        is_today
        or (
            has_history
            and extract(isodow from origin_date) = 1
            and (
                days_read = history_days
                or days_read >= 7 * {{ forecast_weeks() }} + {{ usual_days() }}
            )
        )
)

select
    -- ids
    chosen.scope,
    chosen.scope_value,
    chosen.origin_date,
    chosen.horizon_days,

    -- measures
    chosen.history_days,
    case
        when chosen.has_history
            then round({{ weeks_repeated(
                'chosen.expected_total', 'chosen.expected_week_before', 'rest.expected_total', 'chosen.horizon_days'
            ) }}, 6)
    end as forecast_usd,
    case
        when chosen.has_history
            then round((chosen.cost_total - chosen.cost_four_weeks_before) / 28 * chosen.horizon_days, 6)
    end as trailing_mean_usd,
    case
        when chosen.has_history
            then round({{ weeks_repeated(
                'chosen.cost_total', 'chosen.cost_week_before', 'rest.cost_total', 'chosen.horizon_days'
            ) }}, 6)
    end as naive_usd,
    ends.cost_total - chosen.cost_total as actual_usd
from chosen
left join totals as rest
    on chosen.scope = rest.scope
    and chosen.scope_value = rest.scope_value
    and rest.cost_date = chosen.cost_date - 7 + chosen.horizon_days % 7
left join totals as ends
    on chosen.scope = ends.scope
    and chosen.scope_value = ends.scope_value
    and ends.cost_date = chosen.cost_date + chosen.horizon_days
