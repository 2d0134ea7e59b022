{{
    config(
        meta={
            'touched': {'request_date': ['agg_llm_outcomes.request_date']},
            'touched_type': 'date'
        }
    )
}}

with

outcomes as (
    select * from {{ ref('agg_llm_outcomes') }}
    where {{ where_touched('request_date') }}
),

daily as (
    select
        request_date,
        app_id,
        feature_id,
        provider,
        model,
        sum(requests)::bigint as requests,
        coalesce(sum(requests) filter (where is_routed), 0)::bigint as routed_requests,
        coalesce(sum(confidence_requests) filter (where is_routed), 0)::bigint as confidence_requests,
        sum(confidence_sum) filter (where is_routed) as confidence_sum,
        coalesce(sum(requests) filter (where is_routed and went_well), 0)::bigint as accurate_requests,
        coalesce(sum(requests) filter (where is_routed and baseline_model = 'none'), 0)::bigint
            as requests_without_baseline,
        sum(unpriced_baselines)::bigint as unpriced_baselines,
        sum(unpriced_requests)::bigint as unpriced_requests,
        sum(compared_requests)::bigint as compared_requests,
        array_agg(distinct baseline_model order by baseline_model) filter (where baseline_model <> 'none')
            as baseline_models,
        sum(cost_usd) as cost_usd,
        sum(compared_cost_usd) as compared_cost_usd,
        sum(baseline_cost_usd) as baseline_cost_usd
    from outcomes
    group by request_date, app_id, feature_id, provider, model
)

select
    -- ids
    request_date,
    app_id,
    feature_id,
    provider,
    model,

    -- routing
    requests,
    routed_requests,
    {{ ratio('routed_requests', 'requests') }} as routed_rate,
    confidence_requests,
    confidence_sum,
    {{ ratio('confidence_sum', 'confidence_requests') }} as mean_confidence,
    accurate_requests,
    {{ ratio('accurate_requests', 'routed_requests') }} as accuracy_rate,

    -- cost
    cost_usd,
    baseline_models,
    compared_requests,
    requests_without_baseline,
    unpriced_baselines,
    unpriced_requests,
    compared_cost_usd,
    baseline_cost_usd,
    baseline_cost_usd - compared_cost_usd as savings_usd,
    {{ ratio('baseline_cost_usd - compared_cost_usd', 'baseline_cost_usd') }} as savings_rate
from daily
