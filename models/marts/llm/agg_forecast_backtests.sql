{{
    config(
        meta={'touched': {'scope': ['forecast_scope']}, 'depends_on_now': true},
        pre_hook="{{ touch_forecasts(
            'forecast_scope', ['total', 'app', 'team', 'project', 'workspace', 'feature', 'user', 'model'],
            'agg_cost_daily.cost_date'
        ) }}"
    )
}}

with

expected as (
    select
        scope,
        scope_value,
        cost_date as day,
        history_days,
        days_read,
        cost_usd as value,
        expected_usd as expected
    from {{ ref('agg_expected_costs') }}
),

{{ forecasts_of_the_past(['scope', 'scope_value']) }}

select
    -- ids
    scope,
    scope_value,
    origin_date,
    horizon_days,

    -- measures
    history_days,
    forecast as forecast_usd,
    trailing_mean as trailing_mean_usd,
    naive as naive_usd,
    actual as actual_usd
from forecasts
where {{ where_touched('scope') }}
