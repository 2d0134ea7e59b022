{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'linked:int_visitor_aliases.anonymous_id']},
            'emits': ['session_group']
        },
        indexes=[{'columns': ['session_group', 'started_at'], 'unique': true}, {'columns': ['session_key']}],
        post_hook="{{ touch_connected_groups('int_sessions.session_group') }}"
    )
}}

with

visits as (
    select * from {{ ref('int_visits') }}
    where {{ where_touched('session_group') }}
),

closed_visits as (
    select * from {{ ref('stg_closed_visits') }}
    where {{ where_touched('session_group') }}
),

all_visits as (
    select session_group, session_key, started_at, ended_at, user_id, anonymous_id, app_id, false as is_closed
    from visits
    union all
    select session_group, session_key, started_at, ended_at, user_id, anonymous_id, app_id, true as is_closed
    from closed_visits
),

aliases as (
    select * from {{ ref('int_visitor_aliases') }}
)

select
    visits.session_group,
    visits.session_key,
    visits.started_at,
    visits.ended_at,
    visits.app_id,
    coalesce(visits.user_id, aliases.user_id) as user_id,
    visits.anonymous_id,
    {{ visitor_id('coalesce(visits.user_id, aliases.user_id)', 'visits.anonymous_id', 'visits.session_group') }}
        as visitor_id,
    visits.is_closed
from all_visits as visits
left join aliases
    on visits.user_id is null
    and visits.anonymous_id = aliases.anonymous_id
    and visits.started_at >= coalesce(aliases.valid_from, '-infinity')
    and visits.started_at < coalesce(aliases.valid_to, 'infinity')
