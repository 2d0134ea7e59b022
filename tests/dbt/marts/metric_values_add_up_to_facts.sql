{{ config(tags=['nightly']) }}

-- Over all buckets a metric is what the facts hold.
with

facts (metric, value) as (
    select 'sessions', count(*)::numeric from {{ ref('fct_sessions') }}
    union all
    select 'page_views', count(*) from {{ ref('fct_page_views') }}
    union all
    select 'goals', count(*) from {{ ref('fct_goals') }}
    union all
    select 'sign_in_failures', count(*) from {{ ref('fct_events') }}
    where event_role = 'sign_in_failure'
    union all
    select 'llm_requests', count(*) from {{ ref('fct_llm_requests') }}
    union all
    select 'llm_cost_usd', sum(cost_usd) from {{ ref('fct_llm_requests') }}
),

measured as (
    select metric, sum(value) as value
    from {{ ref('agg_metric_values') }}
    group by metric
)

select facts.metric, facts.value, measured.value as measured
from facts
inner join {{ ref('metrics') }} as watched on facts.metric = watched.metric
left join measured on facts.metric = measured.metric
where coalesce(facts.value, 0) <> coalesce(measured.value, 0)
