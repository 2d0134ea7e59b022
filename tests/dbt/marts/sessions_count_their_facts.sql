{{ config(tags=['nightly']) }}

-- A visit's counts are the numbers of its rows in the fact tables, while these are kept.
with

counted as (
    select
        session_key,
        count(*) as page_views,
        0 as goals,
        0 as events,
        0 as requests,
        0 as errors,
        null::numeric as cost_usd
    from {{ ref('fct_page_views') }}
    group by session_key
    union all
    select session_key, 0, count(*), 0, 0, 0, null
    from {{ ref('fct_goals') }}
    group by session_key
    union all
    select session_key, 0, 0, count(*), 0, 0, null
    from {{ ref('fct_events') }}
    group by session_key
    union all
    select session_key, 0, 0, 0, count(*), 0, sum(cost_usd)
    from {{ ref('fct_llm_requests') }}
    group by session_key
    union all
    select session_key, 0, 0, 0, 0, count(*), null
    from {{ ref('fct_errors') }}
    group by session_key
),

facts as (
    select
        session_key,
        sum(page_views) as page_views,
        sum(goals) as goals,
        sum(events) as events,
        sum(requests) as requests,
        sum(errors) as errors,
        sum(cost_usd) as cost_usd
    from counted
    group by session_key
)

select sessions.session_key
from (
    select sessions.* from {{ ref('fct_sessions') }} as sessions
    inner join {{ ref('int_visits') }} as visits
        on sessions.session_group = visits.session_group and sessions.session_key = visits.session_key
) as sessions
left join facts on sessions.session_key = facts.session_key
where
    sessions.pages_visited <> coalesce(facts.page_views, 0)
    or sessions.goal_count <> coalesce(facts.goals, 0)
    or sessions.event_count <> coalesce(facts.events, 0)
    or sessions.llm_request_count <> coalesce(facts.requests, 0)
    or sessions.error_count <> coalesce(facts.errors, 0)
    or sessions.llm_cost_usd is distinct from facts.cost_usd
    or sessions.bounce_session <> (coalesce(facts.page_views, 0) = 1)
