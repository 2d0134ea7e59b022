{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['event_date'], 'emits_whoever': ['event_date']
        },
        indexes=[
            {'columns': ['event_date', 'app_id', 'event_role']},
            {'columns': ['app_id', 'occurred_at']},
            {'columns': ['session_key']}
        ]
    )
}}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }} and is_closed is not true
),

merged as (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

sent as (
    select {{ owner_group('events') }} as owner_group, events.*
    from {{ ref('int_enriched_events') }} as events
    left join merged on events.session_group = merged.session_group
    where {{ where_touched_in_raw('events.session_group', 'events.received_at') }}
),

told as (
    select
        -- ids
        sent.owner_group as session_group,
        sent.event_id,
        visits.session_key,
        visits.visitor_id,
        coalesce(sent.user_id, visits.user_id) as user_id,
        sent.anonymous_id,
        coalesce(sent.app_id, visits.app_id) as app_id,
        sent.workspace_id,
        sent.project_id,
        sent.team_id,
        sent.org_id,
        sent.plan,

        -- what
        sent.event_name,
        sent.event_category,
        coalesce(roles.role, case when sent.event_category = 'error' then 'error' else 'other' end) as event_role,
        sent.retention_class,
        coalesce(sent.is_conversion, roles.is_conversion, false) as is_conversion,

        -- times
        sent.occurred_at,
        {{ utc_date('sent.occurred_at') }} as event_date,

        -- where
        sent.page,
        sent.query_string,
        sent.page_title,
        sent.referrer_domain,
        sent.landing_path,
        {{ url_query('sent.landing_page') }} as landing_query,
        sent.utm_source,
        sent.utm_medium,
        sent.utm_campaign,

        -- client
        sent.device_type,
        sent.browser_name,
        sent.browser_version,
        sent.os_name,
        sent.os_version,
        coalesce(sent.is_bot, false) as is_bot,
        sent.screen_width,
        sent.screen_height,
        sent.country_code,
        sent.city,

        -- measures
        sent.revenue,
        sent.currency,
        sent.properties,
        sent.content_hash
    from sent
    {{ join_visits('sent', 'occurred_at', 'owner_group', kind='left') }}
    left join {{ ref('event_roles') }} as roles on sent.event_name = roles.event_name
),

-- an event sent twice is one event, the first one told: of one told in a closed visit none is left
once as (
    select distinct on (session_group, event_id) *
    from told
    order by session_group, event_id, occurred_at, content_hash
)

select
    {{ contracted_columns('fct_events') | reject('in', ['response_ms', 'load_ms']) | join(', ') or '*' }},
    {{ to_number("coalesce(properties ->> 'response_time_ms', properties ->> 'responseTimeMs')") }} as response_ms,
    {{ to_number("coalesce(properties ->> 'load_time_ms', properties ->> 'loadTimeMs')") }} as load_ms
from once
where session_key is not null
