{{
    config(
        meta={'touched': {'visitor_id': ['fct_sessions.visitor_id']}, 'touched_type': 'uuid'}
    )
}}

with

sessions as (
    select
        visitor_id,
        app_id,
        min(started_at) as first_seen_at,
        max(ended_at) as last_seen_at,
        count(*) as total_sessions,
        sum(event_count)::bigint as total_events
    from {{ ref('fct_sessions') }}
    where {{ where_touched('visitor_id') }}
    group by visitor_id, app_id
),

visitors as (
    select visitor_id, display_name from {{ ref('agg_visitors') }}
    where {{ where_touched('visitor_id') }}
)

select
    -- ids
    sessions.visitor_id,
    sessions.app_id,
    visitors.display_name,

    -- times
    sessions.first_seen_at,
    sessions.last_seen_at,

    -- measures
    sessions.total_sessions,
    sessions.total_events
from sessions
inner join visitors using (visitor_id)
