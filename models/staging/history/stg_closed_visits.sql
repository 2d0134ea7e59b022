select
    -- ids
    session_group,
    session_key,
    user_id,
    anonymous_id,
    app_id,

    -- times
    started_at,
    ended_at,

    -- what happened
    visit
from {{ source('history', 'closed_visits') }}
