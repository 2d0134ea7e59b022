{{
    config(
        meta={
            'touched': {'impact_date': ['fct_sessions.session_date', 'agg_cost_daily.cost_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['impact_date']}]
    )
}}

with

sessions as (
    select
        session_date as impact_date,
        app_id,
        visitor_id,
        duration_seconds,
        pages_visited,
        converted,
        conversion_value,
        llm_request_count
    from {{ ref('fct_sessions') }}
    where {{ where_touched('session_date') }}
),

-- AI use: a request to an LLM in any of the visitor's visits of the day to the app
visitors as (
    select
        impact_date,
        app_id,
        visitor_id,
        sum(llm_request_count) > 0 as used_ai,
        count(*) as sessions,
        sum(duration_seconds) as session_seconds,
        sum(pages_visited) as page_views,
        count(*) filter (where converted) as converted_sessions,
        sum(conversion_value) as conversion_value_usd,
        sum(llm_request_count) as llm_requests
    from sessions
    group by impact_date, app_id, visitor_id
),

activity as (
    select
        impact_date,
        app_id,
        used_ai,
        count(*) as visitors,
        count(*) filter (where converted_sessions > 0) as converted_visitors,
        sum(sessions) as sessions,
        sum(converted_sessions) as converted_sessions,
        sum(session_seconds) as session_seconds,
        sum(page_views) as page_views,
        sum(llm_requests) as llm_requests,
        sum(conversion_value_usd) as conversion_value_usd
    from visitors
    group by impact_date, app_id, used_ai
),

-- of the ledger: requests, and whatever else names a model
costs as (
    select
        cost_date as impact_date,
        app_id,
        true as used_ai,
        sum(cost_usd) as ai_cost_usd,
        sum(unpriced_requests) as unpriced_requests
    from {{ ref('agg_cost_daily') }}
    where {{ where_touched('cost_date') }} and (category = 'llm' or model <> 'unattributed')
    group by cost_date, app_id
)

select
    -- ids
    impact_date,
    app_id,
    used_ai,

    -- who came
    coalesce(activity.visitors, 0) as visitors,
    coalesce(activity.converted_visitors, 0) as converted_visitors,
    coalesce(activity.sessions, 0)::bigint as sessions,
    coalesce(activity.converted_sessions, 0)::bigint as converted_sessions,

    -- what they did
    coalesce(activity.session_seconds, 0) as session_seconds,
    coalesce(activity.page_views, 0)::bigint as page_views,
    coalesce(activity.llm_requests, 0)::bigint as llm_requests,

    -- money
    activity.conversion_value_usd,
    costs.ai_cost_usd,
    coalesce(costs.unpriced_requests, 0)::bigint as unpriced_requests
from activity
full join costs using (impact_date, app_id, used_ai)
