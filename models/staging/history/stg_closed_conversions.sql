select
    -- ids
    session_group,
    conversion_id,
    session_key,

    -- what
    goal_name,
    told_by,

    -- times
    reached_at,

    -- measures
    value,
    currency,
    value_usd
from {{ source('history', 'closed_conversions') }}
