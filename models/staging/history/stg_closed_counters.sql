select
    -- ids
    session_group,
    session_key,
    counter,

    -- measures
    by_events,
    by_increments,
    session_total,
    amount
from {{ source('history', 'closed_counters') }}
