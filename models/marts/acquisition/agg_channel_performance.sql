{{ config(materialized='view') }}

with

visits as (
    select app_id, session_date as performance_date, channel, source, medium, campaign, sessions
    from {{ ref('agg_channel_sessions') }}
),

costs as (
    select
        app_id, cost_date as performance_date, channel, source, medium, campaign, cost_usd,
        unconverted_lines as unconverted_cost_lines
    from {{ ref('agg_ad_costs') }}
),

credits as (
    select
        app_id,
        conversion_date as performance_date,
        channel,
        source,
        medium,
        campaign,
        {% for model in attribution_models() %}
        sum({{ model }}_conversions) as {{ model }}_conversions,
        sum({{ model }}_revenue_usd) as {{ model }}_revenue_usd,
        {% endfor %}
        sum(touched_conversions)::bigint as touched_conversions
    from {{ ref('agg_attribution') }}
    group by app_id, conversion_date, channel, source, medium, campaign
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
    coalesce(visits.sessions, 0) as sessions,
    {% for model in attribution_models() %}
    coalesce(credits.{{ model }}_conversions, 0) as {{ model }}_conversions,
    credits.{{ model }}_revenue_usd,
    {% endfor %}
    coalesce(credits.touched_conversions, 0) as touched_conversions,
    costs.cost_usd,
    coalesce(costs.unconverted_cost_lines, 0) as unconverted_cost_lines
from visits
full join credits using (app_id, performance_date, channel, source, medium, campaign)
full join costs using (app_id, performance_date, channel, source, medium, campaign)
