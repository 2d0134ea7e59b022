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

batches as (
    select * from snapshots
    where is_greatest
),

flushed as (
    select distinct batch_id from snapshots
    where is_flush
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
        batches.path_timings[2] as second_timing,
        flushed.batch_id is not null as is_flushed
    from (select distinct batch_id, session_id, batch_seq from snapshots) as addresses
    inner join batches on addresses.batch_id = batches.batch_id
    left join flushed on addresses.batch_id = flushed.batch_id
),

-- the state a reload restores is kept under the session id and sequence number: both batches have them
beginnings as (
    select
        batch_id,
        started_at,
        is_flushed,
        md5((session_id, batch_seq, first_page, first_timing, second_page, second_timing)::text)::uuid as beginning
    from addressed
    where first_timing is not null and second_page is not null and second_timing is not null
    union all
    select
        addressed.batch_id,
        addressed.started_at,
        addressed.is_flushed,
        md5((session_id, batch_seq, first_page, first_timing, marks.mark)::text)::uuid as beginning
    from addressed
    inner join marks on addressed.batch_id = marks.batch_id
    where addressed.first_page is not null and addressed.first_timing is not null
),

shared_beginnings as (
    select beginning
    from beginnings
    group by beginning
    having count(*) > 1
),

placed as (
    select
        *,
        row_number() over by_start as place,
        count(*) filter (where is_flushed) over by_start as flushed_place
    from beginnings
    where beginning in (select beginning from shared_beginnings)
    window by_start as (partition by beginning order by started_at, batch_id)
),

-- what is restored is the last flush: the ten batches before, and the ten before that flushed, are more than enough
pairs as (
    select child.batch_id, parent.batch_id as parent_batch_id
    from placed as child
    cross join generate_series(1, 10) as back
    inner join placed as parent
        on child.beginning = parent.beginning and child.place - back = parent.place
    where child.started_at > parent.started_at
    union
    select child.batch_id, parent.batch_id as parent_batch_id
    from placed as child
    cross join generate_series(1, 10) as back
    inner join placed as parent
        on child.beginning = parent.beginning
        and child.flushed_place - child.is_flushed::integer + 1 - back = parent.flushed_place
        and parent.is_flushed
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
