{{
    config(
        meta={'touched': {'session_group': ['session_group', 'int_sessions.session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

{% set first_values = [
    'device_type', 'browser_name', 'os_name', 'is_bot', 'screen_width', 'screen_height', 'country_code', 'city',
    'landing_page', 'workspace_id', 'project_id', 'team_id', 'org_id', 'plan'
] %}
{% set versions = {'browser_version': 'browser_name', 'os_version': 'os_name'} %}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }} and is_closed is not true
),

merged as (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

events as (
    select
        {{ owner_group('sent') }} as owner_group,
        sent.occurred_at,
        sent.content_hash::text as tie,
        sent.utm_source,
        sent.utm_medium,
        sent.utm_campaign,
        sent.referrer_domain,
        {% for column in first_values + versions | list if column != 'landing_page' %}
        sent.{{ column }},
        {% endfor %}
        coalesce(sent.landing_path, sent.page) as landing_page
    from {{ ref('int_enriched_events') }} as sent
    left join merged on sent.session_group = merged.session_group
    where {{ where_touched_in_raw('sent.session_group', 'sent.received_at') }}
),

pages as (
    select
        session_group,
        viewed_at,
        page || '?' || query_string as tie,
        {{ query_parameter("'?' || query_string", 'utm_source') }} as utm_source,
        {{ query_parameter("'?' || query_string", 'utm_medium') }} as utm_medium,
        {{ query_parameter("'?' || query_string", 'utm_campaign') }} as utm_campaign
    from {{ ref('int_batch_pages') }}
    where query_string like '%utm_%' and {{ where_touched('session_group') }}
),

campaign_touches as (
    select distinct on (visits.session_key)
        visits.session_key,
        touches.utm_source,
        touches.utm_medium,
        touches.utm_campaign
    from (
        select owner_group as session_group, occurred_at as at, tie, utm_source, utm_medium, utm_campaign from events
        union all
        select * from pages
    ) as touches
    {{ join_visits('touches', 'at') }}
    where coalesce(touches.utm_source, touches.utm_medium, touches.utm_campaign) is not null
    order by visits.session_key, touches.at, touches.tie
),

first_values as (
    select
        visits.session_key,
        {% for column in first_values %}
        {{ first_value(column) }} as {{ column }},
        {% endfor %}
        {% for version, name in versions.items() %}
        {{ first_value(version, told_with=name) }} as {{ version }},
        {% endfor %}
        {{ first_value('referrer_domain') }} as referrer_domain
    from events
    {{ join_visits('events', 'occurred_at', 'owner_group') }}
    group by visits.session_key
)

select
    visits.session_group,
    visits.session_key,
    coalesce(campaign_touches.utm_source, first_values.referrer_domain, 'Direct') as source,
    coalesce(
        campaign_touches.utm_medium,
        case
            when campaign_touches.session_key is null and first_values.referrer_domain is not null then 'referral'
            else 'None'
        end
    ) as medium,
    coalesce(campaign_touches.utm_campaign, 'None') as campaign,
    campaign_touches.utm_source,
    {% for column in first_values + versions | list %}
    first_values.{{ column }},
    {% endfor %}
    first_values.referrer_domain
from visits
left join campaign_touches using (session_key)
left join first_values using (session_key)
where campaign_touches.session_key is not null or first_values.session_key is not null
