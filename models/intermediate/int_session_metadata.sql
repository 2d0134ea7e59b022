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

ancestors as (
    select batch_id, parent_batch_id as ancestor_id
    from batches
    where parent_batch_id is not null
    union
    select ancestors.batch_id, batches.parent_batch_id as ancestor_id
    from ancestors
    inner join batches on ancestors.ancestor_id = batches.batch_id
    where batches.parent_batch_id is not null
),

-- a reload forgets the metadata its predecessors had: what they told counts from its first snapshot on
shown as (
    select session_group, seen_at as shown_at, seen_at as told_at, snapshot_number, metadata
    from snapshots
    union all
    select child.session_group, child.seen_at as shown_at, told.seen_at as told_at, told.snapshot_number, told.metadata
    from snapshots as child
    inner join ancestors on child.batch_id = ancestors.batch_id
    inner join snapshots as told on ancestors.ancestor_id = told.batch_id
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
