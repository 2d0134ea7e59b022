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
        coalesce(visitors.total_sessions, 0) as total_sessions,
        visitors.first_seen_at,
        visitors.last_seen_at,
        calls.first_identified_at,
        calls.last_identified_at,
        coalesce(visitors.visitor_id, {{ visitor_id('user_id', 'null::text', 'null::text') }}) as visitor_id
    from visitors
    full join calls using (user_id)
),

users as (
    select
        user_id,
        total_sessions,
        first_seen_at,
        last_seen_at,
        first_identified_at,
        last_identified_at,
        visitor_id
    from {{ ref('dim_users') }}
)

(select * from expected except all select * from users)
union all
(select * from users except all select * from expected)
