{{
    config(
        meta={
            'touched': {'request_date': ['whoever:fct_llm_requests.request_date']},
            'touched_type': 'date'
        }
    )
}}

with

requests as (
    select
        *,
        abs(reported_cost_usd - computed_cost_usd) as difference_usd,
        {{ costs_disagree('reported_cost_usd', 'computed_cost_usd') }} as disagrees
    from {{ ref('fct_llm_requests') }}
    where {{ where_touched('request_date') }}
),

daily as (
    select
        -- ids
        request_date,
        coalesce(provider, 'unknown') as provider,
        coalesce(model, 'unknown') as model,
        min(price_provider) as price_provider,
        min(price_model) as price_model,

        -- requests
        count(*) as requests,
        count(*) filter (where cost_basis = 'unpriced') as unpriced_requests,
        count(*) filter (where disagrees) as disagreeing_requests,

        -- US dollars of the requests that have both a reported and a computed cost
        sum(reported_cost_usd) filter (where computed_cost_usd is not null) as compared_reported_cost_usd,
        sum(computed_cost_usd) filter (where reported_cost_usd is not null) as compared_computed_cost_usd,
        coalesce(sum(difference_usd) filter (where disagrees), 0) as disagreement_usd
    from requests
    group by request_date, coalesce(provider, 'unknown'), coalesce(model, 'unknown')
)

select
    *,
    case
        when unpriced_requests = 0 then null
        when price_model is not null then 'no tokens'
        when price_provider is not null then 'unknown model'
        else 'unknown provider and model'
    end as unpriced_because,
    disagreement_usd > 1 as is_disagreement
from daily
