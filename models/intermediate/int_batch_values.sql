{{
    config(
        meta={'touched': {'session_group': ['session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

with

snapshots as (
    select * from {{ ref('int_batch_snapshots') }}
    where {{ where_touched('session_group') }}
),

batches as (
    select * from {{ ref('int_batches') }}
    where {{ where_touched('session_group') }}
),

merged as (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

shown as (
    select batch_id, snapshot_number, session_group, 'goal' as kind, pair.key as name, pair.value
    from snapshots
    cross join lateral jsonb_each_text(goal_events) as pair
    union all
    select batch_id, snapshot_number, session_group, 'load' as kind, pair.key as name, pair.value
    from snapshots
    cross join lateral jsonb_each_text(page_load_times) as pair
),

-- a map keeps the last value of a name: the distinct values over its snapshots are what happened
first_shown as (
    select distinct on (batch_id, kind, name, value) *
    from shown
    order by batch_id, kind, name, value, snapshot_number
)

select
    {{ owner_group('first_shown') }} as session_group,
    first_shown.batch_id,
    first_shown.kind,
    first_shown.name,
    first_shown.value,
    snapshots.seen_at,
    snapshots.user_id,
    snapshots.anonymous_id,
    snapshots.app_id
from first_shown
inner join batches using (batch_id)
inner join snapshots
    on first_shown.batch_id = snapshots.batch_id and first_shown.snapshot_number = snapshots.snapshot_number
left join merged on first_shown.session_group = merged.session_group
left join first_shown as carried
    on batches.parent_batch_id = carried.batch_id
    -- a rotation starts its load times afresh, and keeps its goals
    and (first_shown.kind = 'goal' or batches.continuation = 'reload')
    and first_shown.kind = carried.kind
    and first_shown.name = carried.name
    and first_shown.value = carried.value
where carried.batch_id is null
