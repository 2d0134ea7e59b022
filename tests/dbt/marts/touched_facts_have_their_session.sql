-- The same for the session groups a refresh touched: hourly, so no more than that is read.
with

listed as materialized (
    select keys.session_group
    from {{ touched(['session_group', 'int_sessions.session_group']) }} as keys (session_group)
),

facts as (
    select 'fct_events' as fact, session_group, session_key, visitor_id, occurred_at as at
    from {{ ref('fct_events') }}
    where session_group in (select listed.session_group from listed)
    union all
    select 'fct_page_views' as fact, session_group, session_key, visitor_id, viewed_at as at
    from {{ ref('fct_page_views') }}
    where session_group in (select listed.session_group from listed)
    union all
    select 'fct_goals' as fact, session_group, session_key, visitor_id, reached_at as at
    from {{ ref('fct_goals') }}
    where session_group in (select listed.session_group from listed)
    union all
    select 'fct_errors' as fact, session_group, session_key, visitor_id, occurred_at as at
    from {{ ref('fct_errors') }}
    where session_group in (select listed.session_group from listed)
    union all
    select 'fct_llm_requests' as fact, session_group, session_key, visitor_id, requested_at as at
    from {{ ref('fct_llm_requests') }}
    where session_group in (select listed.session_group from listed)
)

select facts.*
from facts
left join {{ ref('fct_sessions') }} as sessions
    on facts.session_group = sessions.session_group and facts.session_key = sessions.session_key
where
    sessions.session_key is null
    or facts.visitor_id <> sessions.visitor_id
    or facts.at not between sessions.started_at and sessions.ended_at
