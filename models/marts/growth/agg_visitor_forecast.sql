{{ config(materialized='view') }}

with

daily as (
    {{ visitors_by_measure() }}
),

made as (
    select
        app_id,
        measure,
        origin_date,
        horizon_days,
        history_days,
        forecast_visitors as forecast,
        trailing_mean_visitors as trailing_mean,
        naive_visitors as naive,
        actual_visitors as actual
    from {{ ref('agg_visitor_backtests') }}
),

{{ forecasts_of_periods(['app_id', 'measure']) }}

select
    -- ids
    app_id,
    measure,
    period,
    period_start_date,
    period_end_date,

    -- how it came about
    basis,
    history_days,
    horizon_days,

    -- measures
    value::bigint as visitors,
    at_end as forecast_visitors,
    lower_end as lower_visitors,
    upper_end as upper_visitors,

    -- how well it did before
    coalesce(backtests, 0) as backtests,
    error_rate,
    trailing_mean_error_rate,
    naive_error_rate
from projected
