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

-- times a batch shares with another prove a common past even where one page alone does not
marks as (
    select batch_id, goal.key || ' ' || goal.value as mark
    from snapshots
    cross join lateral jsonb_each_text(goal_events) as goal
    union
    select batch_id, entry.value ->> 'timestamp' as mark
    from snapshots
    cross join lateral jsonb_array_elements(llm_interactions) as entry
),

marked_pairs as (
    select distinct ours.batch_id, theirs.batch_id as parent_batch_id
    from marks as ours
    inner join marks as theirs on ours.mark = theirs.mark and ours.batch_id <> theirs.batch_id
),

batches as (
    select * from snapshots
    where is_greatest
),

-- a batch under each session id and sequence number it was sent under
addressed as (
    select
        addresses.session_id,
        addresses.batch_seq,
        batches.batch_id,
        batches.started_at,
        batches.path_sequence[1] as first_page,
        batches.path_timings[1] as first_timing,
        batches.path_sequence[2] as second_page,
        batches.path_timings[2] as second_timing
    from (select distinct batch_id, session_id, batch_seq from snapshots) as addresses
    inner join batches on addresses.batch_id = batches.batch_id
),

-- the state a reload restores is kept under the session id and sequence number: both batches have them
pairs as (
    select child.batch_id, parent.batch_id as parent_batch_id
    from addressed as child
    inner join addressed as parent
        using (session_id, batch_seq, first_page, first_timing, second_page, second_timing)
    where child.started_at > parent.started_at
    union
    select child.batch_id, parent.batch_id as parent_batch_id
    from marked_pairs
    inner join addressed as child on marked_pairs.batch_id = child.batch_id
    inner join addressed as parent
        on marked_pairs.parent_batch_id = parent.batch_id
        and child.session_id = parent.session_id
        and child.batch_seq = parent.batch_seq
        and child.first_page = parent.first_page
        and child.first_timing = parent.first_timing
    where child.started_at > parent.started_at
)

select
    child.session_group,
    pairs.batch_id,
    pairs.parent_batch_id,
    {{ shared_pages('child', 'parent') }} as shared_pages
from pairs
inner join batches as child on pairs.batch_id = child.batch_id
inner join batches as parent on pairs.parent_batch_id = parent.batch_id
