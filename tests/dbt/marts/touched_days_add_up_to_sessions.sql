-- daily_stats_add_up_to_sessions for the days whose sessions a refresh changed.
with

listed as materialized (
    select keys.stat_date::date as stat_date
    from {{ touched(['fct_sessions.session_date']) }} as keys (stat_date)
),

sessions as (
    select
        app_id,
        session_date as stat_date,
        count(*) as total_sessions,
        count(distinct visitor_id) as unique_visitors,
        sum(pages_visited) as page_views,
        sum(goal_count) as goals,
        sum(error_count) as error_count,
        sum(messages_sent) as total_messages_sent
    from {{ ref('fct_sessions') }}
    where session_date in (select listed.stat_date from listed)
    group by app_id, session_date
),

days as (
    select
        app_id,
        stat_date,
        total_sessions,
        unique_visitors,
        page_views,
        goals,
        error_count,
        total_messages_sent
    from {{ ref('agg_daily_stats') }}
    where stat_date in (select listed.stat_date from listed)
)

select *
from sessions
full join days using (app_id, stat_date)
where
    (
        sessions.total_sessions,
        sessions.unique_visitors,
        sessions.page_views,
        sessions.goals,
        sessions.error_count,
        sessions.total_messages_sent
    )
    is distinct from
    (
        days.total_sessions,
        days.unique_visitors,
        days.page_views,
        days.goals,
        days.error_count,
        days.total_messages_sent
    )
