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
    select
        batch_id,
        snapshot_number,
        session_group,
        'error' as kind,
        entry.value as entry,
        row_number() over (partition by batch_id, snapshot_number, entry.value) as occurrence
    from snapshots
    cross join lateral jsonb_array_elements(error_events) as entry
    union all
    select
        batch_id,
        snapshot_number,
        session_group,
        'llm' as kind,
        entry.value as entry,
        row_number() over (partition by batch_id, snapshot_number, entry.value) as occurrence
    from snapshots
    cross join lateral jsonb_array_elements(llm_interactions) as entry
),

-- the client trims old entries: each counts as often as in the one snapshot that has it most often
first_shown as (
    select distinct on (batch_id, kind, entry, occurrence) *
    from shown
    order by batch_id, kind, entry, occurrence, snapshot_number
)

select
    {{ owner_group('first_shown') }} as session_group,
    first_shown.batch_id,
    first_shown.kind,
    first_shown.entry,
    first_shown.occurrence,
    case first_shown.kind
        when 'llm' then (first_shown.entry ->> 'timestamp')::timestamptz
        else batches.started_at + {{ milliseconds("coalesce((first_shown.entry ->> 'time')::numeric, 0)") }}
    end as occurred_at,
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
    -- a rotation starts both afresh
    and batches.continuation = 'reload'
    and first_shown.kind = carried.kind
    and first_shown.entry = carried.entry
    and first_shown.occurrence = carried.occurrence
where carried.batch_id is null
