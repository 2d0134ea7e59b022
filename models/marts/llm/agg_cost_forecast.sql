{{ config(materialized='view') }}

with

daily as (
    select scope, scope_value, cost_date as day, cost_usd as value from {{ ref('agg_scope_cost_daily') }}
),

made as (
    select
        scope,
        scope_value,
        origin_date,
        horizon_days,
        history_days,
        forecast_usd as forecast,
        trailing_mean_usd as trailing_mean,
        naive_usd as naive,
        actual_usd as actual
    from {{ ref('agg_forecast_backtests') }}
),

{{ forecasts_of_periods(['scope', 'scope_value']) }}

select
    -- ids
    scope,
    scope_value,
    period,
    period_start_date,
    period_end_date,

    -- how it came about
    basis,
    history_days,
    horizon_days,

    -- measures
    value as spent_usd,
    at_end as forecast_usd,
    lower_end as lower_usd,
    upper_end as upper_usd,

    -- how well it did before
    coalesce(backtests, 0) as backtests,
    error_rate,
    trailing_mean_error_rate,
    naive_error_rate
from projected
