select
    -- ids
    session_group,
    anonymous_id,
    user_id,

    -- times
    first_at
from {{ source('history', 'closed_identities') }}
