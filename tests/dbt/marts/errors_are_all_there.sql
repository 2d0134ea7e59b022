{{ config(tags=['nightly']) }}

-- Every error of a batch in an open visit stands once, and every error event stands once or is one that a batch tells
-- too.
with

told as (
    select entries.session_group, count(*) as by_batches, 0 as by_events
    from {{ ref('int_batch_entries') }} as entries
    inner join {{ ref('int_visits') }} as visits
        on entries.session_group = visits.session_group
        and entries.occurred_at between visits.started_at and visits.ended_at
    where entries.kind = 'error'
    group by entries.session_group
    union all
    select session_group, 0, count(*)
    from {{ ref('fct_events') }}
    where event_role = 'error'
    group by session_group
),

tellings as (
    select session_group, sum(by_batches) as by_batches, sum(by_events) as by_events
    from told
    group by session_group
),

errors as (
    select
        session_group,
        count(*) filter (where told_by in ('session batch', 'both')) as by_batches,
        count(*) filter (where told_by in ('event', 'both')) as by_events
    from {{ ref('fct_errors') }}
    group by session_group
)

select *
from tellings
full join errors using (session_group)
where
    (tellings.by_batches, tellings.by_events) is distinct from (errors.by_batches, errors.by_events)
