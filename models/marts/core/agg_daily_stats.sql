{{
    config(
        meta={
            'touched': {'stat_date': ['fct_sessions.session_date', 'dim_visitor_apps.first_session_date']},
            'touched_type': 'date'
        }
    )
}}

with

sessions as (
    select * from {{ ref('fct_sessions') }}
    where {{ where_touched('session_date') }}
),

first_sessions as (
    select * from {{ ref('dim_visitor_apps') }}
    where {{ where_touched('first_session_date') }}
),

new_visitors as (
    select app_id, first_session_date as stat_date, count(*) as new_visitors
    from first_sessions
    group by app_id, first_session_date
),

daily as (
    select
        app_id,
        session_date as stat_date,
        count(*) as total_sessions,
        count(distinct visitor_id) as unique_visitors,
        count(*) filter (where had_conversation) as total_conversations,
        sum(messages_sent)::bigint as total_messages_sent,
        sum(messages_received)::bigint as total_messages_received,
        round(avg(messages_sent + messages_received), 2) as avg_messages_per_session,
        sum(duration_seconds) as total_session_seconds,
        round(avg(duration_seconds))::bigint as avg_session_duration_seconds,
        sum(widget_loaded_count)::bigint as widget_loads,
        sum(widget_opened_count)::bigint as widget_opens,
        round(100.0 * count(*) filter (where had_conversation) / count(*), 2) as conversion_rate,
        sum(response_count)::bigint as response_count,
        sum(response_ms) as total_response_ms,
        round(sum(response_ms) / nullif(sum(response_count), 0))::bigint as avg_response_time_ms,
        sum(error_count)::bigint as error_count,
        sum(pages_visited)::bigint as page_views,
        sum(goal_count)::bigint as goals,
        count(*) filter (where converted) as converted_sessions,
        count(*) filter (where device_type = 'desktop') as desktop_sessions,
        count(*) filter (where device_type = 'mobile') as mobile_sessions,
        count(*) filter (where device_type = 'tablet') as tablet_sessions
    from sessions
    group by app_id, session_date
),

top_values as (
    {{ top_values('sessions', "coalesce(referrer_domain, 'direct')", 'referrers') }}
    union all
    {{ top_values('sessions', 'landing_page', 'landing_pages') }}
    union all
    {{ top_values('sessions', 'utm_source', 'utm_sources') }}
)

select
    -- ids
    daily.app_id,
    daily.stat_date,

    -- visitors
    daily.total_sessions,
    daily.unique_visitors,
    coalesce(new_visitors.new_visitors, 0) as new_visitors,
    daily.unique_visitors - coalesce(new_visitors.new_visitors, 0) as returning_visitors,

    -- conversations
    daily.total_conversations,
    daily.total_messages_sent,
    daily.total_messages_received,
    daily.avg_messages_per_session,
    daily.total_session_seconds,
    daily.avg_session_duration_seconds,
    daily.widget_loads,
    daily.widget_opens,
    daily.conversion_rate,
    daily.response_count,
    daily.total_response_ms,
    daily.avg_response_time_ms,
    daily.error_count,

    -- pages and goals
    daily.page_views,
    daily.goals,
    daily.converted_sessions,

    -- where from
    coalesce(referrers.top, '[]') as top_referrers,
    coalesce(landing_pages.top, '[]') as top_landing_pages,
    coalesce(utm_sources.top, '[]') as utm_sources,

    -- devices
    daily.desktop_sessions,
    daily.mobile_sessions,
    daily.tablet_sessions
from daily
left join new_visitors using (app_id, stat_date)
left join top_values as referrers
    on daily.app_id = referrers.app_id and daily.stat_date = referrers.stat_date and referrers.kind = 'referrers'
left join top_values as landing_pages
    on daily.app_id = landing_pages.app_id and daily.stat_date = landing_pages.stat_date
    and landing_pages.kind = 'landing_pages'
left join top_values as utm_sources
    on daily.app_id = utm_sources.app_id and daily.stat_date = utm_sources.stat_date
    and utm_sources.kind = 'utm_sources'
-- what a function reads of an app lies side by side
order by daily.app_id, daily.stat_date
