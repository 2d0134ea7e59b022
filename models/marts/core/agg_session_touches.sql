{{
    config(
        meta={'touched': {'session_group': ['session_group', 'int_sessions.session_group']}}
    )
}}

{% set single_values = [
    'device_type', 'screen_width', 'screen_height', 'country_code', 'city', 'landing_page', 'referrer_domain',
    'workspace_id', 'project_id', 'team_id', 'org_id', 'plan', 'click_id'
] %}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }} and is_closed is not true
),

-- what is told together stays together: a version is of the name beside it
events as (
    select
        *,
        event_id as tie,
        case
            when coalesce(utm_source, utm_medium, utm_campaign) is not null
                then array[utm_source, utm_medium, utm_campaign]
        end as campaign_values,
        case when browser_name is not null then array[browser_name, browser_version] end as browser,
        case when os_name is not null then array[os_name, os_version] end as os,
        coalesce(landing_path, page) as landing_page,
        coalesce({{ click_id('query_string') }}, {{ click_id('landing_query') }}) as click_id
    from {{ ref('fct_events') }}
    where {{ where_touched('session_group') }}
),

pages as (
    select
        session_group,
        viewed_at as occurred_at,
        page || '?' || query_string as tie,
        array[
            {{ query_parameter("'?' || query_string", 'utm_source') }},
            {{ query_parameter("'?' || query_string", 'utm_medium') }},
            {{ query_parameter("'?' || query_string", 'utm_campaign') }}
        ] as campaign_values,
        {{ click_id('query_string') }} as click_id
    from {{ ref('int_batch_pages') }}
    where query_string is not null and {{ where_touched('session_group') }}
),

touches as (
    select
        session_group, session_key, occurred_at, tie, campaign_values, browser, os, is_bot, true as is_event,
        {{ single_values | join(', ') }}
    from events
    union all
    select
        visits.session_group, visits.session_key, pages.occurred_at, pages.tie,
        case when array_remove(pages.campaign_values, null) <> '{}' then pages.campaign_values end,
        null, null, null, false,
        {{ (['null'] * (single_values | length - 1)) | join(', ') }}, pages.click_id
    from pages
    {{ join_visits('pages', 'occurred_at') }}
    where array_remove(pages.campaign_values || pages.click_id, null) <> '{}'
),

first_values as (
    select
        session_group,
        session_key,
        {% for column in ['campaign_values', 'browser', 'os'] + single_values %}
        {{ first_value(column) }} as {{ column }},
        {% endfor %}
        bool_or(is_bot) as is_bot,
        -- a click id alone says of a visit of batches that an ad was clicked, and not where it stood
        bool_or(is_event or campaign_values is not null) as is_told
    from touches
    group by session_group, session_key
)

select
    -- ids
    session_group,
    session_key,

    -- where it came from
    case when is_told then coalesce(campaign_values[1], referrer_domain, 'Direct') end as source,
    case
        when campaign_values[2] is not null then campaign_values[2]
        when campaign_values is null and referrer_domain is not null then 'referral'
        when is_told then 'None'
    end as medium,
    case when is_told then coalesce(campaign_values[3], 'None') end as campaign,
    campaign_values[1] as utm_source,
    referrer_domain,
    click_id,
    landing_page,

    -- client
    device_type,
    browser[1] as browser_name,
    browser[2] as browser_version,
    os[1] as os_name,
    os[2] as os_version,
    is_bot,
    screen_width,
    screen_height,
    country_code,
    city,

    -- tenant
    workspace_id,
    project_id,
    team_id,
    org_id,
    plan
from first_values
