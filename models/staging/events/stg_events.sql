-- read without a CTE: through one, what is computed here is computed for rows that a model's own condition leaves out
select
    -- ids
    session_group,
    content_hash,
    event_id,
    app_id,
    session_id,
    anonymous_id,
    user_id,
    workspace_id,
    project_id,
    team_id,
    org_id,
    plan,

    -- what
    event_name,
    event_category,
    retention_class,

    -- times
    occurred_at,
    received_at,

    -- where
    {{ scrubbed_url('page_url') }} as page_url,
    {{ scrubbed(url_path('page_url'), within='page_url') }} as page,
    case when strpos(page_url, '?') > 0 then {{ url_query(scrubbed_url('page_url')) }} end as query_string,
    {{ scrubbed('page_title') }} as page_title,
    {{ scrubbed_url('referrer') }} as referrer,
    {{ url_host('referrer') }} as referrer_domain,
    {{ scrubbed_url('landing_page') }} as landing_page,
    {{ scrubbed(url_path('landing_page'), within='landing_page') }} as landing_path,
    coalesce(utm_source, {{ query_parameter('page_url', 'utm_source') }}) as utm_source,
    coalesce(utm_medium, {{ query_parameter('page_url', 'utm_medium') }}) as utm_medium,
    coalesce(utm_campaign, {{ query_parameter('page_url', 'utm_campaign') }}) as utm_campaign,

    -- client
    ops.user_agent_key(user_agent) as user_agent_key,
    ops.ip_network(ip_address) as ip_network,
    device_type,
    browser_name,
    browser_version,
    os_name,
    os_version,
    screen_width,
    screen_height,
    country_code,
    city,

    -- measures
    is_conversion,
    revenue,
    currency,
    {{ scrubbed_json('properties') }} as properties
from {{ source('raw', 'events') }}
where
    not withheld and {{ is_published() }}
    and {{ is_open('occurred_at') }}
    and {{ is_credible('occurred_at') }}
    and {{ is_not_opted_out('occurred_at') }}
