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

-- an event sent twice is one event
events as (
    select distinct on ({{ owner_group('sent') }}, sent.event_id)
        {{ owner_group('sent') }} as owner_group,
        sent.*
    from {{ ref('int_enriched_events') }} as sent
    left join merged on sent.session_group = merged.session_group
    where {{ where_touched_in_raw('sent.session_group', 'sent.received_at') }}
    order by {{ owner_group('sent') }}, sent.event_id, sent.occurred_at, sent.content_hash
),

final as (
    select
        -- ids
        events.owner_group as session_group,
        events.event_id,
        visits.session_key,
        visits.visitor_id,
        coalesce(events.user_id, visits.user_id) as user_id,
        events.anonymous_id,
        coalesce(events.app_id, visits.app_id) as app_id,
        events.workspace_id,
        events.project_id,
        events.team_id,
        events.org_id,
        events.plan,

        -- what
        events.event_name,
        events.event_category,
        coalesce(roles.role, case when events.event_category = 'error' then 'error' else 'other' end) as event_role,
        events.retention_class,
        coalesce(events.is_conversion, roles.is_conversion, false) as is_conversion,

        -- times
        events.occurred_at,
        {{ utc_date('events.occurred_at') }} as event_date,

        -- where
        events.page,
        events.query_string,
        events.page_title,
        events.referrer_domain,
        events.landing_path,
        {{ url_query('events.landing_page') }} as landing_query,
        events.utm_source,
        events.utm_medium,
        events.utm_campaign,

        -- client
        events.device_type,
        events.browser_name,
        events.browser_version,
        events.os_name,
        events.os_version,
        coalesce(events.is_bot, false) as is_bot,
        events.screen_width,
        events.screen_height,
        events.country_code,
        events.city,

        -- measures
        events.revenue,
        events.currency,
        {{ to_number("coalesce(events.properties ->> 'response_time_ms', events.properties ->> 'responseTimeMs')") }}
            as response_ms,
        {{ to_number("coalesce(events.properties ->> 'load_time_ms', events.properties ->> 'loadTimeMs')") }}
            as load_ms,
        events.properties
    from events
    {{ join_visits('events', 'occurred_at', 'owner_group') }}
    left join {{ ref('event_roles') }} as roles on events.event_name = roles.event_name
)

select * from final
