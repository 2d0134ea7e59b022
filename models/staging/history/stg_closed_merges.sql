select
    -- ids
    session_group,
    merged_group,
    anonymous_id,
    user_id,
    batch_id,

    -- times
    signed_in_at
from {{ source('history', 'closed_merges') }}
