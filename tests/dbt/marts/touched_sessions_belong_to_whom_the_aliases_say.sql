-- sessions_belong_to_whom_the_aliases_say for the session groups a refresh touched.
with

listed as materialized (
    select keys.session_group
    from {{ touched(['session_group', 'int_sessions.session_group']) }} as keys (session_group)
),

sessions as (
    select * from {{ ref('fct_sessions') }}
    where session_group in (select listed.session_group from listed)
),

visits as (
    select * from {{ ref('int_visits') }}
    where session_group in (select listed.session_group from listed)
)

select sessions.session_key, sessions.user_id, aliases.user_id as expected_user_id
from sessions
inner join visits
    on sessions.session_group = visits.session_group and sessions.session_key = visits.session_key
left join {{ ref('visitor_aliases') }} as aliases
    on visits.anonymous_id = aliases.anonymous_id
    and (aliases.valid_from is null or visits.started_at >= aliases.valid_from)
    and (aliases.valid_to is null or visits.started_at < aliases.valid_to)
where
    sessions.user_id is distinct from coalesce(visits.user_id, aliases.user_id)
    or (aliases.visitor_id is not null and visits.user_id is null and sessions.visitor_id <> aliases.visitor_id)
