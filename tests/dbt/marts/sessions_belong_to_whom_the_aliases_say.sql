{{ config(tags=['nightly']) }}

-- A visit that names no user belongs to whoever its anonymous id was when it started.
select sessions.session_key, sessions.user_id, aliases.user_id as expected_user_id
from {{ ref('fct_sessions') }} as sessions
inner join {{ ref('int_visits') }} as visits
    on sessions.session_group = visits.session_group and sessions.session_key = visits.session_key
left join {{ ref('visitor_aliases') }} as aliases
    on visits.anonymous_id = aliases.anonymous_id
    and (aliases.valid_from is null or visits.started_at >= aliases.valid_from)
    and (aliases.valid_to is null or visits.started_at < aliases.valid_to)
where
    sessions.user_id is distinct from coalesce(visits.user_id, aliases.user_id)
    or (aliases.visitor_id is not null and visits.user_id is null and sessions.visitor_id <> aliases.visitor_id)
