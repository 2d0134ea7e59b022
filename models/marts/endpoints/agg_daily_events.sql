{{
    config(
        meta={'touched': {'event_date': ['event_day']}, 'touched_type': 'date'}
    )
}}

select
    -- ids
    app_id,
    event_date,

    -- measures
    sum(events)::bigint as events
from {{ ref('agg_event_daily') }}
where {{ where_touched('event_date') }}
group by app_id, event_date
-- what a function reads of an app lies side by side
order by app_id, event_date
