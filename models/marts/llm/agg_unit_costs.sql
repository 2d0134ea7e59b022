{{ config(materialized='view') }}

with

-- one row per day and app on either side: what is joined multiplies nothing
costs as (
    select
        cost_date,
        app_id,
        sum(cost_usd) as cost_usd
    from {{ ref('agg_cost_daily') }}
    group by cost_date, app_id
),

sessions as (
    select
        session_date as cost_date,
        app_id,
        count(*) as sessions,
        count(*) filter (where converted) as converted_sessions,
        count(distinct visitor_id) as active_visitors,
        count(distinct user_id) as active_users
    from {{ ref('fct_sessions') }}
    group by session_date, app_id
)

select
    -- ids
    cost_date,
    app_id,

    -- measures
    costs.cost_usd,
    coalesce(sessions.sessions, 0) as sessions,
    coalesce(sessions.converted_sessions, 0) as converted_sessions,
    coalesce(sessions.active_visitors, 0) as active_visitors,
    coalesce(sessions.active_users, 0) as active_users,
    round(costs.cost_usd / nullif(sessions.sessions, 0), 6) as cost_per_session_usd,
    round(costs.cost_usd / nullif(sessions.converted_sessions, 0), 6) as cost_per_conversion_usd,
    round(costs.cost_usd / nullif(sessions.active_visitors, 0), 6) as cost_per_active_visitor_usd,
    round(costs.cost_usd / nullif(sessions.active_users, 0), 6) as cost_per_active_user_usd
from costs
full join sessions using (cost_date, app_id)
