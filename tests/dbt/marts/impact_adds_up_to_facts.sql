{{ config(tags=['nightly']) }}

-- Every relation of impact holds all of what it is made of, once, each day.
with

sums (relation, day, app_id, told, expected) as (
    select 'agg_feature_model_daily', request_date, app_id, sum(counted.requests), sum(facts.requests)
    from (
        select request_date, app_id, sum(requests) as requests
        from {{ ref('agg_feature_model_daily') }}
        group by request_date, app_id
    ) as counted
    full join (
        select request_date, app_id, count(*) as requests
        from {{ ref('fct_llm_requests') }}
        group by request_date, app_id
    ) as facts using (request_date, app_id)
    group by request_date, app_id
    union all
    select 'agg_feature_model_latency', request_date, app_id, sum(counted.requests), sum(facts.requests)
    from (
        select request_date, app_id, sum(requests) as requests
        from {{ ref('agg_feature_model_latency') }}
        group by request_date, app_id
    ) as counted
    full join (
        select request_date, app_id, count(*) as requests
        from {{ ref('fct_llm_requests') }}
        where status = 'success' and latency_ms is not null
        group by request_date, app_id
    ) as facts using (request_date, app_id)
    group by request_date, app_id
    union all
    select 'agg_usage_daily', usage_date, counted.app_id, counted.sessions, facts.total_sessions
    from (
        select * from {{ ref('agg_usage_daily') }}
        where scope = 'app'
    ) as counted
    full join {{ ref('agg_daily_stats') }} as facts
        on counted.app_id = facts.app_id and counted.usage_date = facts.stat_date
    union all
    select 'ai_impact', impact_date, counted.app_id, counted.visitors, facts.unique_visitors
    from (
        select impact_date, app_id, sum(visitors) as visitors
        from {{ ref('ai_impact') }}
        where visitors > 0
        group by impact_date, app_id
    ) as counted
    full join {{ ref('agg_daily_stats') }} as facts
        on counted.app_id = facts.app_id and counted.impact_date = facts.stat_date
    union all
    select 'agg_revenue', revenue_date, app_id, counted.revenue_usd, facts.earned_usd
    from (
        select revenue_date, app_id, sum(revenue_usd) as revenue_usd
        from {{ ref('agg_revenue') }}
        group by revenue_date, app_id
    ) as counted
    full join (
        select session_date as revenue_date, app_id, sum(conversion_value) as earned_usd
        from {{ ref('fct_sessions') }}
        group by session_date, app_id
    ) as facts using (revenue_date, app_id)
    union all
    select 'agg_user_summary', summary_date, null, counted.sessions, facts.visits
    from (
        select summary_date, sum(sessions) as sessions
        from {{ ref('agg_user_summary') }}
        group by summary_date
        having sum(sessions) > 0
    ) as counted
    full join (
        select session_date as summary_date, count(*) as visits
        from {{ ref('fct_sessions') }}
        group by session_date
    ) as facts using (summary_date)
)

select * from sums
where told is distinct from expected
