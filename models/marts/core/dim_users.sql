{{
    config(
        meta={'touched': {'user_id': ['int_identify_calls.user_id', 'agg_visitors.user_id']}},
        indexes=[{'columns': ['visitor_id']}]
    )
}}

with

visitors as (
    select * from {{ ref('agg_visitors') }}
    where user_id is not null and {{ where_touched('user_id') }}
),

identifies as (
    select * from {{ ref('int_identify_calls') }}
    where {{ where_touched('user_id') }}
),

calls as (
    select
        user_id,
        min(identified_at) as first_identified_at,
        max(identified_at) as last_identified_at,
        (
            array_agg(email_hash order by identified_at desc, email_hash) filter (where email_hash is not null)
        )[1] as email_hash,
        (array_agg(name order by identified_at desc, name) filter (where name is not null))[1] as name
    from identifies
    group by user_id
),

-- the last non-null value of each key
last_traits as (
    select distinct on (identifies.user_id, pair.key)
        identifies.user_id, pair.key, pair.value, identifies.identified_at
    from identifies
    cross join lateral jsonb_each(identifies.traits) as pair
    where pair.value <> 'null'
    order by identifies.user_id, pair.key, identifies.identified_at desc, pair.value
),

traits as (
    select user_id, jsonb_object_agg(key, value) as traits
    from last_traits
    group by user_id
),

-- told by a call or by a visit: the newer goes first
plans as (
    select distinct on (user_id) user_id, plan
    from (
        select user_id, value #>> '{}' as plan, identified_at as told_at
        from last_traits
        where key in ('plan', 'plan_type', 'planType') and jsonb_typeof(value) = 'string'
        union all
        select user_id, plan, plan_told_at as told_at
        from visitors
        where plan is not null
    ) as told
    order by user_id, told_at desc, plan
),

users as (
    select user_id from visitors
    union
    select user_id from calls
)

select
    -- ids
    users.user_id,
    {{ visitor_id('users.user_id', 'null::text', 'null::text') }} as visitor_id,
    calls.email_hash,

    -- who
    calls.name,
    plans.plan,
    coalesce(traits.traits, '{}') as traits,

    -- times
    calls.first_identified_at,
    calls.last_identified_at,
    visitors.first_seen_at,
    visitors.last_seen_at,

    -- measures
    coalesce(visitors.total_sessions, 0) as total_sessions
from users
left join calls using (user_id)
left join traits using (user_id)
left join plans using (user_id)
left join visitors using (user_id)
