{{
    config(
        meta={'touched': {'session_group': ['session_group']}},
        indexes=[{'columns': ['session_group']}, {'columns': ['batch_id']}]
    )
}}

with

sent as (
    -- the same snapshot in two loads is one snapshot
    select distinct on (session_group, content_hash)
        *,
        {{ counter_total('interaction_summary') }} + {{ counter_total('feature_interactions') }} as counter_total,
        {{ newest_item_time() }} as newest_item_at
    from {{ ref('stg_session_batches') }}
    where not is_server_row and {{ where_touched_in_raw('session_group', 'received_at') }}
    order by session_group, content_hash
),

-- by what can only grow, never by arrival
ordered as (
    select
        *,
        row_number() over in_batch as snapshot_number,
        coalesce(lag(cardinality(path_sequence)) over in_batch, 0) as pages_before,
        lead(content_hash) over in_batch is null as is_greatest
    from sent
    window in_batch as (
        partition by batch_id
        order by
            cardinality(path_sequence), counter_total, newest_item_at nulls first,
            -- a page-hide beacon has no end and follows the flush it equals
            ended_at nulls last, content_hash
    )
)

select
    session_group,
    batch_id,
    snapshot_number,
    is_greatest,
    is_flush,
    content_hash,
    session_id,
    batch_seq,
    user_id,
    anonymous_id,
    app_id,
    started_at,
    coalesce(
        ended_at,
        greatest(newest_item_at, started_at + {{ milliseconds('path_timings[cardinality(path_timings)]') }}, started_at)
    ) as seen_at,
    path_sequence,
    path_timings,
    pages_before,
    counter_total,
    interaction_summary,
    feature_interactions,
    goal_events,
    page_load_times,
    error_events,
    llm_interactions,
    metadata
from ordered
