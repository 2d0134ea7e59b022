{{ config(meta={'touched': {'session_group': ['session_group']}}) }}

with

snapshots as (
    select * from {{ ref('int_batch_snapshots') }}
    where {{ where_touched('session_group') }}
)

-- a server numbers its rows by the millisecond: those are no sequence
select
    session_group,
    session_id,
    {{ utc_date('min(coalesce(started_at, seen_at))') }} as started_date,
    count(distinct batch_seq) as batches_seen,
    max(batch_seq) - min(batch_seq) + 1 - count(distinct batch_seq) as batches_missing
from snapshots
where batch_seq between 0 and 1000000
group by session_group, session_id
having max(batch_seq) > min(batch_seq)
