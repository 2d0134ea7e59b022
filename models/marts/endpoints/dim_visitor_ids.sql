{{
    config(
        meta={'touched': {'visitor_id': ['fct_sessions.visitor_id']}, 'touched_type': 'uuid'},
        indexes=[{'columns': ['visitor_id']}]
    )
}}

select
    -- ids
    sessions.app_id,
    known.id,
    sessions.visitor_id,

    -- times
    max(sessions.ended_at) as last_seen_at
from {{ ref('fct_sessions') }} as sessions
cross join
    lateral (
        values (sessions.anonymous_id), (sessions.user_id), (sessions.visitor_id::text)
    ) as known (id)
where known.id is not null and {{ where_touched('sessions.visitor_id') }}
group by sessions.app_id, known.id, sessions.visitor_id
