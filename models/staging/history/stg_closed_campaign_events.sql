select
    -- ids
    session_group,
    session_key,
    event_date,
    source,
    medium,
    campaign,
    measure,

    -- measures
    events,
    value_usd
from {{ source('history', 'closed_campaign_events') }}
