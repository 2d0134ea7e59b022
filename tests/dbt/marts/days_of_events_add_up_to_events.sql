{{ config(tags=['nightly']) }}

-- Every event of an open day counts in its app, day and name; every visit has one value of the dimensions all have.
with

events as (
    select app_id, event_date, event_name, count(*) as events, count(distinct session_key) as sessions
    from {{ ref('fct_events') }}
    where {{ is_product_event('event_name') }} and occurred_at >= (select ops.horizon())
    group by app_id, event_date, event_name
),

days as (
    select app_id, event_date, event_name, events, sessions
    from {{ ref('agg_event_daily') }}
    where event_date >= (select {{ utc_date('ops.horizon()') }})
),

breakdowns as (
    select app_id, stat_date, dimension, sum(sessions) as sessions
    from {{ ref('agg_session_breakdowns') }}
    where dimension in ('device_type', 'browser_name', 'os_name', 'referrer_domain')
    group by app_id, stat_date, dimension
)

select 'events' as what, app_id, event_date as day, event_name as name
from events
full join days using (app_id, event_date, event_name)
where (events.events, events.sessions) is distinct from (days.events, days.sessions)
union all
select 'visits' as what, app_id, stat_date as day, breakdowns.dimension as name
from {{ ref('agg_daily_stats') }} as stats
full join breakdowns using (app_id, stat_date)
where stats.total_sessions is distinct from breakdowns.sessions
