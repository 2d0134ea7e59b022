{{ config(materialized='view') }}

with

failures as (
    select
        app_id,
        feature_id,
        provider,
        model,
        sum(requests) as requests,
        sum(failed_requests) as failed_requests,
        sum(failed_cost_usd) as failed_cost_usd
    from {{ ref('agg_feature_model_daily') }}
    where {{ is_looked_at('request_date', 'error_hot_spot') }} and feature_id <> 'unattributed'
    group by app_id, feature_id, provider, model
    having
        sum(requests) >= {{ rule_threshold('error_hot_spot', 'minimum_requests') }}
        and sum(failed_requests) >= {{ rule_threshold('error_hot_spot', 'minimum_errors') }}
)

select
    -- ids
    'feature' as scope,
    app_id,
    null::text as workspace_id,
    feature_id,
    provider,
    model,
    null::text as suggestion,

    -- why
    format('%s fails often with %s/%s: mend it', feature_id, provider, model) as title,
    jsonb_build_object(
        'requests', requests,
        'failed_requests', failed_requests,
        'error_rate', round(failed_requests / requests, 4),
        'failed_cost_usd', round(failed_cost_usd, 4)
    ) as evidence,

    -- measures
    null::numeric as estimated_saving_usd,
    round(failed_requests / requests / {{ rule_threshold('error_hot_spot', 'error_rate') }}, 2) as severity
from failures
where failed_requests / requests >= {{ rule_threshold('error_hot_spot', 'error_rate') }}
