{{
    config(
        meta={
            'touched': {'request_date': ['whoever:fct_llm_requests.request_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['request_date']}]
    )
}}

with

requests as (
    select
        *,
        coalesce(feature_id, 'unattributed') as feature,
        coalesce(price_provider, provider, 'unattributed') as seller,
        coalesce(price_model, model, 'unattributed') as product,
        {{ has_failed('told.status', 'told.status_code') }} as has_failed,
        {{ request_outcome('told') }} = 'succeeded'
        and regenerated is not true
        and coalesce({{ feedback_verdict('told.app_id', 'told.rating', 'told.feedback') }}, '') <> 'negative'
            as went_well,
        -- other variants, such as batches, have other prices
        coalesce(uncached_input_tokens >= {{ rule_threshold('cache', 'minimum_tokens') }}, false)
        and cache_read_tokens = 0
        and coalesce(price_variant, 'standard') = 'standard' as could_be_cached
    from {{ ref('fct_llm_requests') }} as told
    where {{ where_touched('request_date') }}
),

followed as (
    select
        *,
        lag(uncached_input_tokens) over last_one as tokens_before,
        lag(could_be_cached) over last_one as could_be_cached_before,
        requested_at - lag(requested_at) over last_one as passed
    from requests
    window last_one as (
        partition by request_date, session_key, app_id, feature, seller, product order by requested_at, request_key
    )
),

repeated as (
    select
        *,
        coalesce(
            could_be_cached and could_be_cached_before
            and passed <= {{ rule_threshold('cache', 'repeat_seconds') }} * interval '1 second'
            -- a chat sends again what it sent, and more
            and uncached_input_tokens >= tokens_before, false
        ) as is_repeat
    from followed
)

select
    -- ids
    request_date,
    app_id,
    feature as feature_id,
    seller as provider,
    product as model,

    -- how it went
    count(*) as requests,
    count(*) filter (where went_well) as good_requests,
    count(*) filter (where has_failed) as failed_requests,

    -- cost
    count(cost_usd) as priced_requests,
    sum(total_tokens) filter (where cost_usd is not null)::bigint as priced_tokens,
    sum(cost_usd) as cost_usd,
    sum(cost_usd) filter (where has_failed) as failed_cost_usd,

    -- input
    sum(uncached_input_tokens)::bigint as uncached_input_tokens,
    sum(cache_read_tokens)::bigint as cache_read_tokens,
    sum(uncached_input_tokens) filter (where could_be_cached)::bigint as cacheable_input_tokens,
    count(*) filter (where is_repeat) as repeated_requests,
    coalesce(sum(tokens_before) filter (where is_repeat), 0)::bigint as repeated_input_tokens
from repeated
group by request_date, app_id, feature, seller, product
