{{
    config(
        meta={
            'touched': {'conversion_date': ['fct_attribution.conversion_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['conversion_date']}]
    )
}}

with

touches as (
    select * from {{ ref('fct_attribution') }}
    where {{ where_touched('conversion_date') }}
)

select
    -- ids
    app_id,
    conversion_date,
    goal_name,
    channel,
    source,
    medium,
    campaign,

    -- measures
    {% for model in attribution_models() %}
    sum({{ model }}_credit) as {{ model }}_conversions,
    sum(conversion_value_usd * {{ model }}_credit) as {{ model }}_revenue_usd,
    {% endfor %}
    count(distinct session_group || '|' || conversion_id) as touched_conversions
from touches
group by app_id, conversion_date, goal_name, channel, source, medium, campaign
