{{
    config(
        meta={'touched': {'session_group': ['session_group']}},
        indexes=[{'columns': ['session_group'], 'unique': true}, {'columns': ['merged_group']}]
    )
}}

with

snapshots as (
    select * from {{ ref('int_batch_snapshots') }}
    where {{ where_touched('session_group') }}
),

-- a batch may have many snapshots of a group: the first that is anonymous says as much as all of them
anonymous_snapshots as (
    select distinct on (batch_id, session_group) *
    from snapshots
    where anonymous_id is not null and user_id is null
    order by batch_id, session_group, snapshot_number, anonymous_id
),

-- signing in keeps the batch and changes its session id: what was anonymous before is the same visit
sign_ins as (
    select
        anonymous.session_group,
        signed_in.session_group as merged_group,
        signed_in.user_id,
        anonymous.anonymous_id,
        signed_in.started_at as signed_in_at,
        signed_in.batch_id,
        signed_in.snapshot_number
    from anonymous_snapshots as anonymous
    inner join snapshots as signed_in
        on anonymous.batch_id = signed_in.batch_id
        and anonymous.snapshot_number < signed_in.snapshot_number
        and anonymous.session_group <> signed_in.session_group
    where
        -- so that no group is both: a star, no chain
        signed_in.anonymous_id is null and signed_in.user_id is not null
)

select distinct on (session_group)
    session_group,
    merged_group,
    anonymous_id,
    user_id,
    signed_in_at,
    batch_id
from (
    select * from sign_ins
    union all
    select session_group, merged_group, user_id, anonymous_id, signed_in_at, batch_id, 0 as snapshot_number
    from {{ ref('stg_closed_merges') }}
    where {{ where_touched('session_group') }}
) as known
order by session_group, signed_in_at, batch_id, snapshot_number, merged_group
