{{ config(tags=['nightly']) }}

-- Weeks, months and runs of days hold each of their visitors once, and each visit.
with

sessions as (
    select
        app_id,
        visitor_id,
        session_date,
        {{ period_start("'week'", 'session_date') }} as week_start_date,
        {{ period_start("'month'", 'session_date') }} as month_start_date
    from {{ ref('fct_sessions') }}
),

counted as (
    select
        'week' as period, app_id, week_start_date as start_date,
        count(*) as total_sessions, count(distinct visitor_id) as unique_visitors
    from sessions
    group by app_id, week_start_date
    union all
    select
        'month' as period, app_id, month_start_date as start_date,
        count(*) as total_sessions, count(distinct visitor_id) as unique_visitors
    from sessions
    group by app_id, month_start_date
    union all
    select
        'all days' as period, app_id, min(session_date) as start_date,
        null as total_sessions, count(distinct visitor_id) as unique_visitors
    from sessions
    group by app_id
),

stats as (
    select 'week' as period, app_id, week_start_date as start_date, total_sessions, unique_visitors
    from {{ ref('agg_weekly_stats') }}
    union all
    select 'month' as period, app_id, month_start_date as start_date, total_sessions, unique_visitors
    from {{ ref('agg_monthly_stats') }}
    union all
    select
        'all days' as period, app_id, min(stat_date) as start_date, null as total_sessions,
        {{ unique_visitors('first_day') }} as unique_visitors
    from {{ ref('agg_visitor_returns') }}
    inner join (
        select app_id, min(stat_date) as first_day
        from {{ ref('agg_daily_stats') }}
        group by app_id
    ) as first_days using (app_id)
    group by app_id
)

select *
from counted
full join stats using (period, app_id, start_date)
where
    (counted.total_sessions, counted.unique_visitors)
    is distinct from (stats.total_sessions, stats.unique_visitors)
