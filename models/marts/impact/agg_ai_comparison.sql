{{ config(materialized='view') }}

{% set counts = [
    'visitors', 'converted_visitors', 'sessions', 'session_seconds', 'page_views', 'conversion_value_usd'
] %}

with

sums as (
    select
        app_id,
        {% for name in counts %}
        {% set side = name.replace('visitors', 'visitor_days') %}
        coalesce(sum({{ name }}) filter (where used_ai), 0) as ai_{{ side }},
        coalesce(sum({{ name }}) filter (where not used_ai), 0) as other_{{ side }},
        {% endfor %}
        -- where no conversion has a value nothing is known of it
        count(conversion_value_usd) > 0 as has_values,
        sum(ai_cost_usd) as ai_cost_usd,
        sum(unpriced_requests) as unpriced_requests
    from {{ ref('ai_impact') }}
    where {{ is_looked_at('impact_date', 'ai_impact') }}
    group by app_id
),

rates as (
    select
        *,
        least(ai_visitor_days, other_visitor_days) >= {{ rule_threshold('ai_impact', 'minimum_visitor_days') }}
        and ai_converted_visitor_days + other_converted_visitor_days
        >= {{ rule_threshold('ai_impact', 'minimum_conversions') }} as is_enough,
        ai_converted_visitor_days / nullif(ai_visitor_days, 0) as ai_conversion_rate,
        other_converted_visitor_days / nullif(other_visitor_days, 0) as other_conversion_rate,
        case when has_values then ai_conversion_value_usd / nullif(ai_visitor_days, 0) end as ai_value_usd,
        case when has_values then other_conversion_value_usd / nullif(other_visitor_days, 0) end as other_value_usd
    from sums
),

compared as (
    select
        *,
        case when is_enough then (ai_value_usd - other_value_usd) * ai_visitor_days end as value_difference_usd
    from rates
)

select
    -- ids
    app_id,
    {{ first_day_of('ai_impact') }} as window_start_date,
    {{ utc_date(as_of()) }} - 1 as window_end_date,

    -- conversion
    ai_visitor_days::bigint,
    other_visitor_days::bigint,
    ai_converted_visitor_days::bigint,
    other_converted_visitor_days::bigint,
    round(ai_conversion_rate, 6) as ai_conversion_rate,
    round(other_conversion_rate, 6) as other_conversion_rate,
    case when is_enough then round(ai_conversion_rate / nullif(other_conversion_rate, 0) - 1, 4) end
        as conversion_lift_rate,

    -- engagement, for each visitor and day
    round(ai_sessions / nullif(ai_visitor_days, 0), 4) as ai_sessions_per_visitor,
    round(other_sessions / nullif(other_visitor_days, 0), 4) as other_sessions_per_visitor,
    round(ai_session_seconds / nullif(ai_visitor_days, 0), 1) as ai_seconds_per_visitor,
    round(other_session_seconds / nullif(other_visitor_days, 0), 1) as other_seconds_per_visitor,
    round(ai_page_views / nullif(ai_visitor_days, 0), 4) as ai_page_views_per_visitor,
    round(other_page_views / nullif(other_visitor_days, 0), 4) as other_page_views_per_visitor,

    -- money
    round(ai_value_usd, 6) as ai_value_per_visitor_usd,
    round(other_value_usd, 6) as other_value_per_visitor_usd,
    round(value_difference_usd, 2) as value_difference_usd,
    ai_cost_usd,
    unpriced_requests::bigint,
    round((value_difference_usd - ai_cost_usd) / nullif(ai_cost_usd, 0), 4) as roi_rate
from compared
