{{
    config(
        meta={'touched': {'session_group': ['session_group', 'int_sessions.session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

with

visits as (
    {{ visits_of_touched_groups() }}
),

merged as (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

starts as (
    select {{ owner_group('sent') }} as session_group, sent.batch_id, sent.started_at
    from {{ ref('int_batch_snapshots') }} as sent
    left join merged on sent.session_group = merged.session_group
    where sent.snapshot_number = 1 and {{ where_touched('sent.session_group') }}
),

batches as (
    select visits.session_key, count(*) as batch_count
    from starts
    {{ join_visits('starts', 'started_at') }}
    group by visits.session_key
),

-- a rise belongs to the visit of the snapshot that first shows it
rises as (
    select * from {{ ref('int_batch_counters') }}
    where {{ where_touched('session_group') }}
),

counters as (
    select
        visits.session_key,
        sum(rises.rise) filter (where rises.kind = 'interaction') as interaction_count,
        sum(rises.rise) filter (where rises.kind = 'feature') as feature_use_count,
        array_agg(distinct rises.name order by rises.name) filter (where rises.kind = 'feature') as features_used,
        sum(rises.rise) filter (where rises.kind = 'interaction' and rises.name = 'chat_message_sent') as messages_sent,
        sum(rises.rise) filter (where rises.kind = 'interaction' and rises.name = 'chat_generation_stopped')
            as stop_count,
        sum(rises.rise) filter (where rises.kind = 'interaction' and rises.name = 'chat_message_regenerated')
            as regenerate_count
    from rises
    inner join visits
        on rises.session_group = visits.session_group
        and rises.seen_at >= visits.shown_from and rises.seen_at < visits.shown_to
    group by visits.session_key
),

-- 0 and 1 ms are artefacts: unmeasured
loads as (
    select session_group, name, {{ to_number('value') }} as milliseconds, seen_at
    from {{ ref('int_batch_values') }}
    where kind = 'load' and {{ to_number('value') }} > 1 and {{ where_touched('session_group') }}
),

responses as (
    select
        visits.session_key,
        count(*) as response_count,
        sum(loads.milliseconds) as response_ms
    from loads
    inner join visits
        on loads.session_group = visits.session_group
        and loads.seen_at >= visits.shown_from and loads.seen_at < visits.shown_to
    where loads.name = 'chat_response'
    group by visits.session_key
)

select
    visits.session_group,
    visits.session_key,
    coalesce(batches.batch_count, 0) as batch_count,
    coalesce(counters.interaction_count, 0) as interaction_count,
    coalesce(counters.feature_use_count, 0) as feature_use_count,
    coalesce(counters.features_used, '{}') as features_used,
    coalesce(counters.messages_sent, 0) as messages_sent,
    coalesce(counters.stop_count, 0) as stop_count,
    coalesce(counters.regenerate_count, 0) as regenerate_count,
    coalesce(responses.response_count, 0) as response_count,
    coalesce(responses.response_ms, 0) as response_ms
from visits
left join batches using (session_key)
left join counters using (session_key)
left join responses using (session_key)
where
    batches.session_key is not null or counters.session_key is not null or responses.session_key is not null
