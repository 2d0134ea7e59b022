{{ config(materialized='view') }}

{% set credits = [] %}
{% for model in attribution_models() %}
{% do credits.extend([model ~ '_conversions', model ~ '_revenue_usd']) %}
{% endfor %}

with

told as (
    select
        app_id, session_date as performance_date, channel, source, medium, campaign,
        sessions, null::numeric as cost_usd, null::bigint as unconverted_cost_lines
        {%- for credit in credits %}, null::numeric as {{ credit }}{% endfor %}
    from {{ ref('agg_channel_sessions') }}
    union all
    select
        app_id, cost_date, channel, source, medium, campaign, null, cost_usd, unconverted_lines
        {%- for credit in credits %}, null{% endfor %}
    from {{ ref('agg_ad_costs') }}
    union all
    select
        app_id, conversion_date, channel, source, medium, campaign, null, null, null, {{ credits | join(', ') }}
    from {{ ref('agg_attribution') }}
)

select
    -- ids
    app_id,
    performance_date,
    channel,
    source,
    medium,
    campaign,

    -- measures
    coalesce(sum(sessions), 0)::bigint as sessions,
    {% for model in attribution_models() -%}
    coalesce(sum({{ model }}_conversions), 0) as {{ model }}_conversions,
    {% endfor %}
    {% for model in attribution_models() -%}
    sum({{ model }}_revenue_usd) as {{ model }}_revenue_usd,
    {% endfor %}
    sum(cost_usd) as cost_usd,
    coalesce(sum(unconverted_cost_lines), 0)::bigint as unconverted_cost_lines
from told
group by app_id, performance_date, channel, source, medium, campaign
