{{
    config(
        meta={'touched': {'session_group': ['session_group']}, 'emits': ['anonymous_id']},
        indexes=[{'columns': ['session_group']}, {'columns': ['anonymous_id']}]
    )
}}

with

identifies as (
    select session_group, session_id, anonymous_id, user_id, identified_at as occurred_at
    from {{ ref('stg_identifies') }}
    where user_id is not null and {{ where_touched_in_raw('session_group', 'received_at') }}
),

-- one record that names both
same_record as (
    select session_group, anonymous_id, user_id, occurred_at as signed_in_at, 'identify call' as evidence
    from identifies
    where anonymous_id is not null
    union all
    select session_group, anonymous_id, user_id, occurred_at as signed_in_at, 'shared record' as evidence
    from {{ ref('stg_events') }}
    where
        anonymous_id is not null and user_id is not null
        and {{ where_touched_in_raw('session_group', 'received_at') }}
    union all
    select session_group, anonymous_id, user_id, occurred_at as signed_in_at, 'shared record' as evidence
    from {{ ref('stg_llm_requests') }}
    where
        anonymous_id is not null and user_id is not null
        and {{ where_touched_in_raw('session_group', 'received_at') }}
),

-- signing in keeps the batch: the anonymous session id is the anonymous id
same_batch as (
    select session_group, anonymous_id, user_id, signed_in_at, 'shared batch' as evidence
    from {{ ref('int_merged_groups') }}
    where anonymous_id is not null and {{ where_touched('session_group') }}
),

session_rows as (
    select session_group, anonymous_id, user_id, occurred_at
    from {{ ref('stg_events') }}
    where session_id is not null and {{ where_touched_in_raw('session_group', 'received_at') }}
    union all
    select session_group, anonymous_id, user_id, occurred_at
    from {{ ref('stg_llm_requests') }}
    where
        session_id is not null and record_type = 'request'
        and {{ where_touched_in_raw('session_group', 'received_at') }}
    union all
    select session_group, anonymous_id, user_id, started_at
    from {{ ref('int_batch_snapshots') }}
    where {{ where_touched('session_group') }}
    union all
    select session_group, anonymous_id, user_id, occurred_at
    from identifies
    where session_id is not null
    union all
    select session_group, anonymous_id, user_id, first_at
    from {{ ref('stg_closed_identities') }}
    where {{ where_touched('session_group') }}
),

people as (
    select session_group, anonymous_id, user_id, min(occurred_at) as first_at
    from session_rows
    group by session_group, anonymous_id, user_id
),

-- a session that was anonymous and then had a user
same_session as (
    select
        users.session_group,
        visitors.anonymous_id,
        users.user_id,
        users.signed_in_at,
        'shared session' as evidence
    from (
        select session_group, user_id, min(first_at) as signed_in_at
        from people
        where user_id is not null
        group by session_group, user_id
    ) as users
    inner join (
        select session_group, anonymous_id, min(first_at) as first_at
        from people
        where anonymous_id is not null
        group by session_group, anonymous_id
    ) as visitors
        on users.session_group = visitors.session_group and visitors.first_at <= users.signed_in_at
),

evidence as (
    select * from same_record
    union all
    select * from same_batch
    union all
    select * from same_session
    union all
    select session_group, anonymous_id, user_id, signed_in_at, evidence
    from {{ ref('stg_closed_edges') }}
    where {{ where_touched('session_group') }}
)

-- a sign-in of the same user counts too: between the two another group may know of somebody else
select distinct on (session_group, anonymous_id, user_id, signed_in_at)
    session_group, anonymous_id, user_id, signed_in_at, evidence
from evidence
order by session_group, anonymous_id, user_id, signed_in_at, evidence
