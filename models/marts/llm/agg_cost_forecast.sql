{{ config(materialized='view') }}

with

today as (
    select {{ utc_date(as_of()) }} as today
),

periods as (
    select
        today.today,
        period,
        {{ period_start('period', 'today.today') }} as period_start_date,
        ({{ period_start('period', 'today.today') }} + {{ period_length('period') }})::date - 1 as period_end_date
    from today
    cross join unnest(array['day', 'week', 'month', 'quarter', 'year']) as period
),

forecasts as (
    select
        made.*,
        periods.today,
        periods.period,
        periods.period_start_date,
        periods.period_end_date
    from {{ ref('agg_forecast_backtests') }} as made
    inner join periods
        on made.origin_date = periods.today
        and made.horizon_days = periods.period_end_date - periods.today + 1
),

spending as (
    select
        forecasts.scope,
        forecasts.scope_value,
        forecasts.period,
        coalesce(sum(costs.cost_usd) filter (where costs.cost_date < forecasts.today), 0) as spent_before_usd,
        coalesce(sum(costs.cost_usd) filter (where costs.cost_date = forecasts.today), 0) as spent_today_usd
    from forecasts
    left join {{ ref('agg_scope_cost_daily') }} as costs
        on forecasts.scope = costs.scope
        and forecasts.scope_value = costs.scope_value
        and costs.cost_date between forecasts.period_start_date and forecasts.today
    group by forecasts.scope, forecasts.scope_value, forecasts.period
),

-- what came in the past as a multiple of what was forecast then, over as many days
outcomes as (
    select
        *,
        case when forecast_usd > 0 then actual_usd / forecast_usd end as outcome,
        count(*) filter (where forecast_usd > 0) over (partition by scope, scope_value, horizon_days) as outcomes,
        (1 - {{ forecast_setting('interval_share') }}) / 2 as tail
    from {{ ref('agg_forecast_backtests') }}
    where actual_usd is not null and forecast_usd is not null
),

-- the next outcome lies below the k-th of n with a chance of k in n + 1: fewer than 1 / tail - 1 give no interval
ranked as (
    select
        *,
        case when (outcomes + 1) * tail >= 1 then ((outcomes + 1) * tail - 1) / (outcomes - 1) end as lower_rank
    from outcomes
),

errors as (
    select
        scope,
        scope_value,
        horizon_days,
        count(*) as backtests,
        round(sum(abs(forecast_usd - actual_usd)) / nullif(sum(abs(actual_usd)), 0), 4) as error_rate,
        round(sum(abs(trailing_mean_usd - actual_usd)) / nullif(sum(abs(actual_usd)), 0), 4)
            as trailing_mean_error_rate,
        round(sum(abs(naive_usd - actual_usd)) / nullif(sum(abs(actual_usd)), 0), 4) as naive_error_rate,
        (percentile_cont(lower_rank::double precision) within group (order by outcome))::numeric as lower_outcome,
        (percentile_cont(1 - lower_rank::double precision) within group (order by outcome))::numeric as upper_outcome
    from ranked
    group by scope, scope_value, horizon_days, lower_rank
),

-- today's costs are part of what was forecast for today: the rest of the period is never less than they are
projected as (
    select
        forecasts.*,
        errors.backtests,
        errors.error_rate,
        errors.trailing_mean_error_rate,
        errors.naive_error_rate,
        spending.spent_before_usd + spending.spent_today_usd as spent_usd,
        round(spending.spent_before_usd + case
            when forecasts.forecast_usd is not null then greatest(forecasts.forecast_usd, spending.spent_today_usd)
        end, 6) as end_usd,
        round(spending.spent_before_usd + case
            when forecasts.forecast_usd > 0 and errors.lower_outcome is not null
                then greatest(forecasts.forecast_usd * errors.lower_outcome, spending.spent_today_usd)
        end, 6) as lower_usd,
        round(spending.spent_before_usd + case
            when forecasts.forecast_usd > 0 and errors.upper_outcome is not null
                then greatest(forecasts.forecast_usd * errors.upper_outcome, spending.spent_today_usd)
        end, 6) as upper_usd
    from forecasts
    inner join spending using (scope, scope_value, period)
    left join errors using (scope, scope_value, horizon_days)
)

select
    -- ids
    scope,
    scope_value,
    period,
    period_start_date,
    period_end_date,

    -- how it came about
    case
        when end_usd is null then 'short history'
        when lower_usd is null then 'untested'
        else 'back-tested'
    end as basis,
    history_days,
    horizon_days,

    -- measures
    spent_usd,
    end_usd as forecast_usd,
    lower_usd,
    upper_usd,

    -- how well it did before
    coalesce(backtests, 0) as backtests,
    error_rate,
    trailing_mean_error_rate,
    naive_error_rate
from projected
