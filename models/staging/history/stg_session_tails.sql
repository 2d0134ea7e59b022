select
    -- ids
    session_group,

    -- times
    run_started_at,
    visit_started_at,
    last_activity_at
from {{ source('history', 'session_tails') }}
