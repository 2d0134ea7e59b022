select
    user_agent_key,
    device_type,
    browser_name,
    browser_version,
    os_name,
    os_version,
    is_bot
from {{ source('ops', 'user_agents') }}
