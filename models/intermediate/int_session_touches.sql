{{
    config(
        meta={'touched': {'session_group': ['session_group', 'int_sessions.session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

{% set single_values = [
    'device_type', 'is_bot', 'screen_width', 'screen_height', 'country_code', 'city', 'landing_page', 'workspace_id',
    'project_id', 'team_id', 'org_id', 'plan'
] %}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }} and is_closed is not true
),

merged as (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

-- what is told together stays together: a version is of the name beside it
events as (
    select
        {{ owner_group('sent') }} as session_group,
        sent.occurred_at,
        sent.content_hash::text as tie,
        case
            when coalesce(sent.utm_source, sent.utm_medium, sent.utm_campaign) is not null
                then array[sent.utm_source, sent.utm_medium, sent.utm_campaign]
        end as campaign,
        case when sent.browser_name is not null then array[sent.browser_name, sent.browser_version] end as browser,
        case when sent.os_name is not null then array[sent.os_name, sent.os_version] end as os,
        {% for column in single_values if column != 'landing_page' %}
        sent.{{ column }},
        {% endfor %}
        coalesce(sent.landing_path, sent.page) as landing_page,
        sent.referrer_domain
    from {{ ref('int_enriched_events') }} as sent
    left join merged on sent.session_group = merged.session_group
    where {{ where_touched_in_raw('sent.session_group', 'sent.received_at') }}
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
        ] as campaign
    from {{ ref('int_batch_pages') }}
    where query_string like '%utm_%' and {{ where_touched('session_group') }}
),

touches as (
    select
        session_group, occurred_at, tie, campaign, browser, os, referrer_domain,
        {{ single_values | join(', ') }}
    from events
    union all
    select
        session_group, occurred_at, tie, campaign, null, null, null,
        null{{ ', null' * (single_values | length - 1) }}
    from pages
    where array_remove(campaign, null) <> '{}'
),

first_values as (
    select
        visits.session_key,
        {% for column in ['campaign', 'browser', 'os'] + single_values %}
        {{ first_value(column) }} as {{ column }},
        {% endfor %}
        {{ first_value('referrer_domain') }} as referrer_domain
    from touches
    {{ join_visits('touches', 'occurred_at') }}
    group by visits.session_key
)

select
    visits.session_group,
    visits.session_key,
    coalesce(first_values.campaign[1], first_values.referrer_domain, 'Direct') as source,
    coalesce(
        first_values.campaign[2],
        case
            when first_values.campaign is null and first_values.referrer_domain is not null then 'referral'
            else 'None'
        end
    ) as medium,
    coalesce(first_values.campaign[3], 'None') as campaign,
    first_values.campaign[1] as utm_source,
    first_values.browser[1] as browser_name,
    first_values.browser[2] as browser_version,
    first_values.os[1] as os_name,
    first_values.os[2] as os_version,
    {% for column in single_values %}
    first_values.{{ column }},
    {% endfor %}
    first_values.referrer_domain
from visits
inner join first_values using (session_key)
