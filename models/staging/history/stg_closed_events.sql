select
    -- ids
    session_group,
    event_id,
    session_key,

    -- times
    occurred_at,

    -- what happened
    retention_class,
    event
from {{ source('history', 'closed_events') }}
