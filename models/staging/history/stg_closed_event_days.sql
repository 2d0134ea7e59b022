select
    -- ids
    app_id,
    event_date,
    event_name,

    -- measures
    event_day
from {{ source('history', 'closed_event_days') }}
