{{
    config(
        meta={
            'touched': {'event_date': ['agg_session_campaigns.event_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['event_date']}]
    )
}}

with

events as (
    select * from {{ ref('agg_session_campaigns') }}
    where {{ where_touched('event_date') }}
)

select
    -- ids
    app_id,
    event_date,
    source,
    medium,
    campaign,

    -- measures
    count(distinct visitor_id) as visitors,
    {% for measure in campaign_measures() -%}
    coalesce(sum(events) filter (where measure = '{{ measure }}'), 0)::bigint as {{ measure }},
    {% endfor -%}
    sum(value_usd) as campaign_value_usd
from events
group by app_id, event_date, source, medium, campaign
