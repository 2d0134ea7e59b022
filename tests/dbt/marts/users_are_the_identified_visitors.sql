{{ config(tags=['nightly']) }}

-- Every user a visit or an identify call names has one row, with that visitor's visits.
with

visitors as (
    select
        user_id,
        visitor_id,
        total_sessions,
        first_seen_at,
        last_seen_at
    from {{ ref('dim_visitors') }}
    where user_id is not null
),

calls as (
    select user_id, min(identified_at) as first_identified_at, max(identified_at) as last_identified_at
    from {{ ref('stg_identifies') }}
    where user_id is not null
    group by user_id
),

expected as (
    select
        user_id,
        visitors.first_seen_at,
        visitors.last_seen_at,
        calls.first_identified_at,
        calls.last_identified_at,
        coalesce(visitors.total_sessions, 0) as total_sessions,
        coalesce(visitors.visitor_id, {{ visitor_id('user_id', 'null::text', 'null::text') }}) as visitor_id
    from visitors
    full join calls using (user_id)
)

select user_id
from expected
full join {{ ref('dim_users') }} as users using (user_id)
where
    (
        expected.visitor_id,
        expected.total_sessions,
        expected.first_seen_at,
        expected.last_seen_at,
        expected.first_identified_at,
        expected.last_identified_at
    )
    is distinct from
    (
        users.visitor_id,
        users.total_sessions,
        users.first_seen_at,
        users.last_seen_at,
        users.first_identified_at,
        users.last_identified_at
    )
