{{
    config(
        meta={'touched': {'session_group': ['session_group']}},
        indexes=[{'columns': ['session_group']}, {'columns': ['batch_id']}]
    )
}}

with

snapshots as (
    select * from {{ ref('int_batch_snapshots') }}
    where {{ where_touched('session_group') }}
),

batches as (
    select
        greatest_snapshot.session_group,
        greatest_snapshot.batch_id,
        greatest_snapshot.started_at,
        greatest_snapshot.path_sequence,
        greatest_snapshot.path_timings,
        greatest_snapshot.counter_total,
        greatest_snapshot.interaction_summary,
        greatest_snapshot.feature_interactions,
        greatest_snapshot.goal_events,
        first_snapshot.counter_total as first_counter_total,
        first_snapshot.interaction_summary as first_interactions,
        first_snapshot.feature_interactions as first_features,
        first_snapshot.goal_events as first_goal_events
    from snapshots as greatest_snapshot
    inner join snapshots as first_snapshot
        on greatest_snapshot.batch_id = first_snapshot.batch_id and first_snapshot.snapshot_number = 1
    where greatest_snapshot.is_greatest
),

-- the session ids and sequence numbers a batch was sent under
addresses as (
    select distinct batch_id, session_id, batch_seq from snapshots
),

reload_pairs as (
    select * from {{ ref('int_reload_pairs') }}
    where {{ where_touched('session_group') }}
),

-- a page-hide beacon saves nothing: a reload starts from the last flush
reloads as (
    select distinct on (child.batch_id)
        child.batch_id,
        parent.batch_id as parent_batch_id,
        'reload' as continuation,
        reload_pairs.shared_pages,
        -- where that flush was lost it cannot have started above what it shows first
        coalesce(
            flush.interaction_summary, {{ lesser_counters('parent.interaction_summary', 'child.first_interactions') }}
        ) as base_interactions,
        coalesce(
            flush.feature_interactions, {{ lesser_counters('parent.feature_interactions', 'child.first_features') }}
        ) as base_features
    from reload_pairs
    inner join batches as child on reload_pairs.batch_id = child.batch_id
    inner join batches as parent on reload_pairs.parent_batch_id = parent.batch_id
    left join snapshots as flush
        on parent.batch_id = flush.batch_id
        and flush.is_flush
        and flush.seen_at <= child.started_at
        and cardinality(flush.path_sequence) <= reload_pairs.shared_pages
        and flush.counter_total <= child.first_counter_total
    order by
        child.batch_id, cardinality(flush.path_sequence) desc nulls last, reload_pairs.shared_pages desc,
        parent.started_at desc, parent.batch_id, flush.snapshot_number desc nulls last
),

rotation_pairs as (
    select distinct on (parent.batch_id)
        child.batch_id,
        parent.batch_id as parent_batch_id,
        parent.started_at as parent_started_at,
        parent.interaction_summary as base_interactions,
        parent.feature_interactions as base_features
    from addresses as child_at
    inner join addresses as parent_at
        on child_at.session_id = parent_at.session_id and child_at.batch_seq = parent_at.batch_seq + 1
    inner join batches as child on child_at.batch_id = child.batch_id
    inner join batches as parent
        on parent_at.batch_id = parent.batch_id
        and cardinality(parent.path_sequence) >= 50
        and parent.started_at < child.started_at
        and child.path_sequence[1] = parent.path_sequence[cardinality(parent.path_sequence)]
        and child.path_timings[1] = 0
        and child.first_counter_total >= parent.counter_total
        and child.first_goal_events ?& array(select jsonb_object_keys(parent.goal_events))
    order by parent.batch_id, child.started_at, child.batch_id
),

rotations as (
    select distinct on (batch_id)
        batch_id,
        parent_batch_id,
        'rotation' as continuation,
        1 as shared_pages,
        base_interactions,
        base_features
    from rotation_pairs
    order by batch_id, parent_started_at desc, parent_batch_id
),

lineage as (
    select * from reloads
    union all
    select rotations.* from rotations
    where
        not exists (
            select from reloads
            where reloads.batch_id = rotations.batch_id
        )
)

select
    batches.session_group,
    batches.batch_id,
    batches.started_at,
    batches.path_sequence,
    batches.path_timings,
    lineage.parent_batch_id,
    lineage.continuation,
    coalesce(lineage.shared_pages, 0)::integer as shared_pages,
    coalesce(lineage.base_interactions, '{}') as base_interactions,
    coalesce(lineage.base_features, '{}') as base_features
from batches
left join lineage using (batch_id)
