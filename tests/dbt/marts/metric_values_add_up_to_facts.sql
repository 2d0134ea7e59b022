{{ config(tags=['nightly']) }}

-- Over all open days a metric is what the facts hold.
with

facts (metric, value) as (
    select 'sessions', count(*)::numeric from {{ ref('fct_sessions') }}
    where started_at >= (select ops.horizon())
    union all
    select 'page_views', count(*) from {{ ref('fct_page_views') }}
    where viewed_at >= (select ops.horizon())
    union all
    select 'goals', count(*) from {{ ref('fct_goals') }}
    where reached_at >= (select ops.horizon())
    union all
    select 'sign_in_failures', count(*) from {{ ref('fct_events') }}
    where event_role = 'sign_in_failure' and occurred_at >= (select ops.horizon())
    union all
    select 'llm_requests', count(*) from {{ ref('fct_llm_requests') }}
    where requested_at >= (select ops.horizon())
    union all
    select 'llm_cost_usd', sum(cost_usd) from {{ ref('fct_llm_requests') }}
    where requested_at >= (select ops.horizon())
),

measured as (
    select metric, sum(value) as value
    from {{ ref('agg_metric_values') }}
    where bucket_at >= (select ops.horizon()) and scope = 'app'
    group by metric
)

select facts.metric, facts.value, measured.value as measured
from facts
inner join {{ ref('metrics') }} as watched on facts.metric = watched.metric
left join measured on facts.metric = measured.metric
where coalesce(facts.value, 0) <> coalesce(measured.value, 0)
