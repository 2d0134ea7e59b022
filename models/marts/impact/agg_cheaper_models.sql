{{ config(materialized='view') }}

with

models as (
    select
        app_id,
        feature_id,
        provider,
        model,
        sum(requests) as requests,
        sum(good_requests) as good_requests,
        sum(priced_requests) as priced_requests,
        sum(priced_tokens) as priced_tokens,
        sum(cost_usd) as cost_usd
    from {{ ref('agg_feature_model_daily') }}
    where {{ is_looked_at('request_date', 'cheaper_model') }} and 'unattributed' not in (feature_id, model)
    group by app_id, feature_id, provider, model
    having
        sum(priced_requests) >= {{ rule_threshold('cheaper_model', 'minimum_requests') }}
        and sum(priced_tokens) > 0
),

-- one good and one bad request more (Agresti and Caffo): a model without a failure is not beyond doubt
rated as (
    select
        *,
        good_requests / requests as quality_rate,
        (good_requests + 1) / (requests + 2) as likely_rate
    from models
),

pairs as (
    select
        dear.*,
        cheap.provider || '/' || cheap.model as suggestion,
        cheap.requests as cheaper_requests,
        cheap.quality_rate as cheaper_quality_rate,
        cheap.cost_usd / cheap.priced_requests as cheaper_cost_per_request_usd,
        1000 * cheap.cost_usd / cheap.priced_tokens as cheaper_cost_per_1k_tokens_usd,
        -- requests of the one may be shorter than those of the other: what counts is the lesser of two savings
        dear.cost_usd - greatest(
            dear.priced_requests * cheap.cost_usd / cheap.priced_requests,
            dear.priced_tokens * cheap.cost_usd / cheap.priced_tokens
        ) as saving_usd
    from rated as dear
    inner join rated as cheap
        on dear.app_id = cheap.app_id
        and dear.feature_id = cheap.feature_id
        and (dear.provider, dear.model) <> (cheap.provider, cheap.model)
    -- even at the lower end of what the difference may be, the cheaper one is as good, but for the tolerance
    where
        cheap.likely_rate - dear.likely_rate - {{ rule_threshold('cheaper_model', 'confidence_z') }} * sqrt(
            cheap.likely_rate * (1 - cheap.likely_rate) / (cheap.requests + 2)
            + dear.likely_rate * (1 - dear.likely_rate) / (dear.requests + 2)
        ) >= -{{ rule_threshold('cheaper_model', 'quality_tolerance') }}
),

best as (
    select distinct on (app_id, feature_id, provider, model)
        *,
        {{ in_30_days('saving_usd', 'cheaper_model') }} as estimated_saving_usd
    from pairs
    where saving_usd >= {{ rule_threshold('cheaper_model', 'minimum_saving_rate') }} * cost_usd
    order by app_id, feature_id, provider, model, saving_usd desc, suggestion
)

select
    -- ids
    'feature' as scope,
    app_id,
    null::text as workspace_id,
    feature_id,
    provider,
    model,
    suggestion,

    -- why
    format('Answer %s with %s instead of %s/%s', feature_id, suggestion, provider, model) as title,
    jsonb_build_object(
        'requests', requests,
        'quality_rate', round(quality_rate, 4),
        'cost_usd', round(cost_usd, 4),
        'cost_per_request_usd', round(cost_usd / priced_requests, 6),
        'cost_per_1k_tokens_usd', round(1000 * cost_usd / priced_tokens, 6),
        'cheaper_requests', cheaper_requests,
        'cheaper_quality_rate', round(cheaper_quality_rate, 4),
        'cheaper_cost_per_request_usd', round(cheaper_cost_per_request_usd, 6),
        'cheaper_cost_per_1k_tokens_usd', round(cheaper_cost_per_1k_tokens_usd, 6)
    ) as evidence,

    -- measures
    estimated_saving_usd,
    null::numeric as severity
from best
where estimated_saving_usd >= {{ rule_threshold('cheaper_model', 'minimum_saving_usd') }}
