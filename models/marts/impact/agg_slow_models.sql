{{ config(materialized='view') }}

with

latencies as (
    select app_id, feature_id, provider, model, latency_bucket, sum(requests) as requests
    from {{ ref('agg_feature_model_latency') }}
    where {{ is_looked_at('request_date', 'slow_model') }} and 'unattributed' not in (feature_id, model)
    group by app_id, feature_id, provider, model, latency_bucket
),

models as (
    select app_id, feature_id, provider, model
    from latencies
    group by app_id, feature_id, provider, model
    having sum(requests) >= {{ rule_threshold('slow_model', 'minimum_requests') }}
),

-- each model beside all others of its feature together
sides as (
    select
        models.app_id,
        models.feature_id,
        models.provider,
        models.model,
        (models.provider, models.model) = (latencies.provider, latencies.model) as is_own,
        latencies.latency_bucket,
        sum(latencies.requests) as requests
    from models
    inner join latencies on models.app_id = latencies.app_id and models.feature_id = latencies.feature_id
    group by
        models.app_id, models.feature_id, models.provider, models.model, is_own, latencies.latency_bucket
),

running as (
    select
        *,
        sum(requests) over (side order by latency_bucket) as requests_so_far,
        sum(requests) over side as all_requests
    from sides
    window side as (partition by app_id, feature_id, provider, model, is_own)
),

percentiles as (
    select
        app_id,
        feature_id,
        provider,
        model,
        is_own,
        max(all_requests) as requests,
        {{ latency_of_bucket('min(latency_bucket)') }} as p95_latency_ms
    from running
    where requests_so_far >= 0.95 * all_requests
    group by app_id, feature_id, provider, model, is_own
),

compared as (
    select
        own.app_id,
        own.feature_id,
        own.provider,
        own.model,
        own.requests,
        own.p95_latency_ms,
        others.requests as other_requests,
        others.p95_latency_ms as other_p95_latency_ms,
        own.p95_latency_ms::numeric / others.p95_latency_ms as latency_ratio
    from percentiles as own
    inner join percentiles as others
        on own.app_id = others.app_id
        and own.feature_id = others.feature_id
        and own.provider = others.provider
        and own.model = others.model
        and not others.is_own
    where own.is_own and others.requests >= {{ rule_threshold('slow_model', 'minimum_requests') }}
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
    format('%s/%s is slow at %s: look for a faster one', provider, model, feature_id) as title,
    jsonb_build_object(
        'requests', requests,
        'p95_latency_ms', p95_latency_ms,
        'other_requests', other_requests,
        'other_p95_latency_ms', other_p95_latency_ms,
        'latency_ratio', round(latency_ratio, 2)
    ) as evidence,

    -- measures
    null::numeric as estimated_saving_usd,
    round(latency_ratio / {{ rule_threshold('slow_model', 'latency_ratio') }}, 2) as severity
from compared
where
    latency_ratio >= {{ rule_threshold('slow_model', 'latency_ratio') }}
    and p95_latency_ms >= {{ rule_threshold('slow_model', 'minimum_latency_ms') }}
