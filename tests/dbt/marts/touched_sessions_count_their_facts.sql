-- sessions_count_their_facts for the session groups a refresh touched: hourly, so no more than that is read.
with

listed as materialized (
    select keys.session_group
    from {{ touched(['session_group', 'int_sessions.session_group']) }} as keys (session_group)
),

counted as (
    select session_key, count(*) as page_views, 0 as goals, 0 as events, 0 as requests, null::numeric as cost_usd
    from {{ ref('fct_page_views') }}
    where session_group in (select listed.session_group from listed)
    group by session_key
    union all
    select session_key, 0, count(*), 0, 0, null
    from {{ ref('fct_goals') }}
    where session_group in (select listed.session_group from listed)
    group by session_key
    union all
    select session_key, 0, 0, count(*), 0, null
    from {{ ref('fct_events') }}
    where session_group in (select listed.session_group from listed)
    group by session_key
    union all
    select session_key, 0, 0, 0, count(*), sum(cost_usd)
    from {{ ref('fct_llm_requests') }}
    where session_group in (select listed.session_group from listed)
    group by session_key
),

facts as (
    select
        session_key,
        sum(page_views) as page_views,
        sum(goals) as goals,
        sum(events) as events,
        sum(requests) as requests,
        sum(cost_usd) as cost_usd
    from counted
    group by session_key
),

sessions as (
    -- a closed one stands as it was: its facts are purged
    select sessions.* from {{ ref('fct_sessions') }} as sessions
    inner join {{ ref('int_visits') }} as visits
        on sessions.session_group = visits.session_group and sessions.session_key = visits.session_key
    where sessions.session_group in (select listed.session_group from listed)
)

select sessions.session_key
from sessions
left join facts on sessions.session_key = facts.session_key
where
    sessions.pages_visited <> coalesce(facts.page_views, 0)
    or sessions.goal_count <> coalesce(facts.goals, 0)
    or sessions.event_count <> coalesce(facts.events, 0)
    or sessions.llm_request_count <> coalesce(facts.requests, 0)
    or sessions.llm_cost_usd is distinct from facts.cost_usd
    or sessions.bounce_session <> (coalesce(facts.page_views, 0) = 1)
