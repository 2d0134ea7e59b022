{{ config(materialized='view') }}

with

events as (
    select
        event_name,
        min(first_category) as event_category,
        min(first_at) as first_seen_at,
        max(last_at) as last_seen_at,
        sum(events)::bigint as events,
        -- a visit over midnight counts once
        (sum(sessions) - sum(continued_sessions))::bigint as sessions,
        count(distinct app_id) as apps
    from {{ ref('agg_event_daily') }}
    group by event_name
),

issues as (
    select event_name, array_agg(distinct issue order by issue) as issues
    from {{ ref('agg_event_issues') }}
    group by event_name
)

select
    -- what
    coalesce(plan.event_name, events.event_name) as event_name,
    coalesce(plan.event_category, events.event_category) as event_category,
    plan.event_name is not null as is_standard,
    plan.source,
    plan.description,

    -- times
    events.first_seen_at,
    events.last_seen_at,

    -- measures
    coalesce(events.events, 0) as events,
    coalesce(events.sessions, 0) as sessions,
    coalesce(events.apps, 0) as apps,

    -- what is wrong with it
    coalesce(issues.issues, '{}') as issues
from {{ ref('tracking_plan') }} as plan
full join events on plan.event_name = events.event_name
left join issues on coalesce(plan.event_name, events.event_name) = issues.event_name
