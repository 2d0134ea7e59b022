{{
    config(
        meta={'touched': {'measure': ['forecast_measure']}, 'depends_on_now': true},
        pre_hook="{{ touch_forecasts(
            'forecast_measure', ['unique', 'new', 'resurrected', 'churned'], 'fct_sessions.session_date'
        ) }}"
    )
}}

with

expected as (
    select
        app_id,
        measure,
        stat_date as day,
        history_days,
        days_read,
        visitors as value,
        expected_visitors as expected
    from {{ ref('agg_expected_visitors') }}
),

{{ forecasts_of_the_past(['app_id', 'measure']) }}

select
    -- ids
    app_id,
    measure,
    origin_date,
    horizon_days,

    -- measures
    history_days,
    forecast as forecast_visitors,
    trailing_mean as trailing_mean_visitors,
    naive as naive_visitors,
    actual::bigint as actual_visitors
from forecasts
where {{ where_touched('measure') }}
