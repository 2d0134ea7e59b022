{{ config(materialized='view') }}

select
    -- ids
    events.session_group,
    events.content_hash,
    events.event_id,
    events.app_id,
    events.session_id,
    events.anonymous_id,
    events.user_id,
    events.workspace_id,
    events.project_id,
    events.team_id,
    events.org_id,
    events.plan,

    -- what
    events.event_name,
    events.event_category,
    events.retention_class,

    -- times
    events.occurred_at,
    events.received_at,

    -- where
    events.page_url,
    events.page,
    events.query_string,
    events.page_title,
    events.referrer,
    events.referrer_domain,
    events.landing_page,
    events.landing_path,
    events.utm_source,
    events.utm_medium,
    events.utm_campaign,

    -- client: what the agent tells, else the producer; a version is of the name beside it
    coalesce(agents.device_type, events.device_type) as device_type,
    coalesce(agents.browser_name, events.browser_name) as browser_name,
    case when agents.browser_name is null then events.browser_version else agents.browser_version end
        as browser_version,
    coalesce(agents.os_name, events.os_name) as os_name,
    case when agents.os_name is null then events.os_version else agents.os_version end as os_version,
    agents.is_bot,
    events.screen_width,
    events.screen_height,

    -- place: the database's, else the producer's; a city is of the country beside it
    coalesce(locations.country_code, events.country_code) as country_code,
    case
        when locations.city is not null then locations.city
        when locations.country_code is null or locations.country_code = events.country_code then events.city
    end as city,

    -- measures
    events.is_conversion,
    events.revenue,
    events.currency,
    events.properties
from {{ ref('stg_events') }} as events
left join {{ ref('stg_user_agents') }} as agents on events.user_agent_key = agents.user_agent_key
left join {{ ref('stg_ip_locations') }} as locations on events.ip_network = locations.ip_network
