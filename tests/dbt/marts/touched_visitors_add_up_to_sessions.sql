-- visitors_add_up_to_sessions for the visitors whose sessions a refresh changed.
with

listed as materialized (
    select keys.visitor_id::uuid as visitor_id
    from {{ touched(['fct_sessions.visitor_id']) }} as keys (visitor_id)
),

sessions as (
    select
        visitor_id,
        count(*) as total_sessions,
        sum(event_count) as total_events,
        sum(pages_visited) as total_page_views,
        sum(llm_cost_usd) as llm_cost_usd,
        min(started_at) as first_seen_at,
        count(distinct app_id) as apps
    from {{ ref('fct_sessions') }}
    where visitor_id in (select listed.visitor_id from listed)
    group by visitor_id
),

apps as (
    select visitor_id, count(*) as apps
    from {{ ref('dim_visitor_apps') }}
    where visitor_id in (select listed.visitor_id from listed)
    group by visitor_id
),

visitors as (
    select
        visitors.visitor_id,
        visitors.total_sessions,
        visitors.total_events,
        visitors.total_page_views,
        visitors.llm_cost_usd,
        visitors.first_seen_at,
        apps.apps
    from (
        select * from {{ ref('agg_visitors') }}
        where visitor_id in (select listed.visitor_id from listed)
    ) as visitors
    -- a full join is never a loop over the one side for each row of the other
    full join apps on visitors.visitor_id = apps.visitor_id
)

select *
from sessions
full join visitors using (visitor_id)
where
    (
        sessions.total_sessions,
        sessions.total_events,
        sessions.total_page_views,
        sessions.llm_cost_usd,
        sessions.first_seen_at,
        sessions.apps
    )
    is distinct from
    (
        visitors.total_sessions,
        visitors.total_events,
        visitors.total_page_views,
        visitors.llm_cost_usd,
        visitors.first_seen_at,
        visitors.apps
    )
