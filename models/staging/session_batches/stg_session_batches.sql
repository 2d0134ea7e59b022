-- read without a CTE: through one, what is computed here is computed for rows that a model's own condition leaves out
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
from {{ source('raw', 'session_batches') }} as sent
where
    not withheld
    and {{ is_published() }}
    -- a row that lacks a bad element stands until its mended record is loaded whole
    and not exists (
        select from {{ source('raw', 'superseded') }} as mended
        where
            sent.load_id = mended.load_id and sent.line_number = mended.line_number
            and mended.superseded_by in {{ published_loads() }}
    )
    and {{ is_open(batch_time()) }}
    and {{ is_credible(newest_batch_time()) }}
    -- a snapshot shows all of its batch: one that tells of a time to be left out is left out whole
    and {{ is_not_opted_out(batch_time(), newest_batch_time()) }}
