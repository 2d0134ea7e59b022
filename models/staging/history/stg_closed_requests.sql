select
    -- ids
    session_group,
    request_key,
    session_key,

    -- times
    occurred_at,

    -- what happened
    request
from {{ source('history', 'closed_requests') }}
