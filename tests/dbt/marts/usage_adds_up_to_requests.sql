{{ config(tags=['nightly']) }}

-- Each request is in one row of each breakdown, and a routed one is compared or counted as what cannot be.
with

requests as (
    select
        request_date,
        count(*) as requests,
        count(*) filter (where was_routed) as routed_requests,
        sum(cost_usd) as cost_usd
    from {{ ref('fct_llm_requests') }}
    group by request_date
),

models as (
    select
        request_date,
        sum(requests) as requests,
        sum(succeeded_requests + error_requests + stopped_requests) as ended_requests,
        sum(cost_usd) as cost_usd
    from {{ ref('agg_model_performance') }}
    group by request_date
),

routers as (
    select
        request_date,
        sum(requests) as requests,
        sum(compared_requests + requests_without_baseline + unpriced_baselines + unpriced_requests) as routed_requests,
        sum(cost_usd) as cost_usd
    from {{ ref('agg_router_daily') }}
    group by request_date
),

prompts as (
    select
        request_date,
        sum(requests) as requests
    from {{ ref('agg_prompt_effectiveness') }}
    group by request_date
)

select *
from requests
full join models using (request_date)
full join routers using (request_date)
full join prompts using (request_date)
where
    (requests.requests, requests.requests, requests.routed_requests, requests.cost_usd)
    is distinct from (models.requests, models.ended_requests, routers.routed_requests, models.cost_usd)
    or (requests.requests, requests.requests, requests.cost_usd)
    is distinct from (routers.requests, prompts.requests, routers.cost_usd)
