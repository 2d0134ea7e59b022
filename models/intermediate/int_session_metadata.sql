{{
    config(
        meta={'touched': {'session_group': ['session_group', 'int_sessions.session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

with recursive

visits as (
    {{ visits_of_touched_groups() }}
),

merged as (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

snapshots as (
    select
        {{ owner_group('sent') }} as session_group,
        sent.batch_id,
        sent.snapshot_number,
        sent.seen_at,
        sent.metadata
    from {{ ref('int_batch_snapshots') }} as sent
    left join merged on sent.session_group = merged.session_group
    where {{ where_touched('sent.session_group') }}
),

batches as (
    select * from {{ ref('int_batches') }}
    where {{ where_touched('session_group') }}
),

-- the last non-null value of each key in a batch that others continue
told_by_parents as (
    select batch_id, jsonb_object_agg(key, jsonb_build_array(seen_at, snapshot_number, value)) as told
    from (
        select distinct on (snapshots.batch_id, pair.key)
            snapshots.batch_id, snapshots.seen_at, snapshots.snapshot_number, pair.key, pair.value
        from snapshots
        cross join lateral jsonb_each(snapshots.metadata) as pair
        where
            snapshots.batch_id in (select parent_batch_id from batches)
            and pair.value <> 'null' and pair.value <> '""'
        order by snapshots.batch_id, pair.key, snapshots.seen_at desc, snapshots.snapshot_number desc, pair.value
    ) as last_told
    group by batch_id
),

-- handed down from parent to child, so that a long lineage is not read once for each of its batches
inherited as (
    select child.batch_id, told_by_parents.told
    from batches as child
    inner join batches as parent on child.parent_batch_id = parent.batch_id
    left join told_by_parents on parent.batch_id = told_by_parents.batch_id
    where parent.parent_batch_id is null
    union all
    select child.batch_id, {{ later_told('inherited.told', 'told_by_parents.told') }} as told
    from inherited
    inner join batches as child on inherited.batch_id = child.parent_batch_id
    left join told_by_parents on inherited.batch_id = told_by_parents.batch_id
),

-- a reload forgets the metadata its predecessors had: what they told counts from its first snapshot on
shown as (
    select session_group, seen_at as shown_at, seen_at as told_at, snapshot_number, metadata
    from snapshots
    union all
    select
        child.session_group,
        child.seen_at as shown_at,
        (pair.value ->> 0)::timestamptz as told_at,
        (pair.value ->> 1)::bigint as snapshot_number,
        jsonb_build_object(pair.key, pair.value -> 2) as metadata
    from snapshots as child
    inner join inherited on child.batch_id = inherited.batch_id
    cross join lateral jsonb_each(inherited.told) as pair
    where child.snapshot_number = 1
),

browser_metadata as (
    select visits.session_group, visits.session_key, 1 as rank, shown.told_at, shown.snapshot_number, shown.metadata
    from shown
    inner join visits
        on shown.session_group = visits.session_group
        and shown.shown_at >= visits.shown_from and shown.shown_at < visits.shown_to
),

-- server rows add keys, they never override
server_metadata as (
    select
        visits.session_group, visits.session_key, 0 as rank, told.occurred_at as told_at, 0 as snapshot_number,
        told.metadata
    from (
        select
            {{ owner_group('server_rows') }} as session_group,
            (server_rows.llm_interactions -> 0 ->> 'timestamp')::timestamptz as occurred_at,
            server_rows.metadata
        from {{ ref('stg_session_batches') }} as server_rows
        left join merged on server_rows.session_group = merged.session_group
        where
            server_rows.is_server_row
            and {{ where_touched_in_raw('server_rows.session_group', 'server_rows.received_at') }}
    ) as told
    {{ join_visits('told', 'occurred_at') }}
),

-- snapshots repeat what they told before: its last telling is enough
tellings as (
    select distinct on (session_key, rank, metadata) *
    from (
        select * from browser_metadata
        union all
        select * from server_metadata
    ) as told
    order by session_key, rank, metadata, told_at desc, snapshot_number desc
),

-- the last non-null value of each key
latest as (
    select distinct on (session_key, pair.key)
        session_group, session_key, pair.key, pair.value
    from tellings as told
    cross join lateral jsonb_each(told.metadata) as pair
    where pair.value <> 'null' and pair.value <> '""'
    order by session_key, pair.key, rank desc, told_at desc, snapshot_number desc, pair.value
),

merged_metadata as (
    select session_key, jsonb_object_agg(key, value) as metadata
    from latest
    group by session_key
)

select
    visits.session_group,
    visits.session_key,
    merged_metadata.metadata,
    {{ metadata_value('workspace_id', 'workspaceId') }} as workspace_id,
    {{ metadata_value('project_id', 'projectId') }} as project_id,
    {{ metadata_value('team_id', 'teamId') }} as team_id,
    {{ metadata_value('org_id', 'orgId') }} as org_id,
    {{ metadata_value('plan', 'planType') }} as plan,
    {{ metadata_value('experiment_variant', 'experimentVariant') }} as experiment_variant
from visits
inner join merged_metadata using (session_key)
