select
    -- ids
    session_group,
    anonymous_id,
    user_id,

    -- what
    evidence,

    -- times
    signed_in_at
from {{ source('history', 'closed_edges') }}
