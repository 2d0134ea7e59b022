with

-- rows that lack a bad element, and whose record was mended and loaded whole
incomplete as (
    select * from {{ source('raw', 'superseded') }}
    where superseded_by in {{ published_loads() }}
),

snapshots as (
    select sent.* from {{ source('raw', 'session_batches') }} as sent
    where
        not sent.withheld
        and sent.load_id in {{ published_loads() }}
        and not exists (
            select from incomplete
            where sent.load_id = incomplete.load_id and sent.line_number = incomplete.line_number
        )
)

select
    -- ids
    session_group,
    content_hash,
    session_id,
    batch_id,
    batch_seq,
    user_id,
    anonymous_id,
    app_id,
    -- a browser's snapshot has a page at least; a server's row holds LLM interactions and nothing else
    (cardinality(path_sequence) = 0 and jsonb_array_length(llm_interactions) > 0) as is_server_row,
    -- only a flush says when it ended; a page-hide beacon does not
    (ended_at is not null) as is_flush,

    -- times
    started_at,
    ended_at,
    received_at,

    -- what happened
    {{ scrubbed_urls('path_sequence') }} as path_sequence,
    path_timings,
    interaction_summary,
    goal_events,
    feature_interactions,
    {{ scrubbed_json('page_load_times') }} as page_load_times,
    {{ scrubbed_json('error_events') }} as error_events,
    llm_interactions,
    {{ scrubbed_json('metadata') }} as metadata
from snapshots
where
    {{ is_open(batch_time()) }}
    and {{ is_credible(newest_batch_time()) }}
