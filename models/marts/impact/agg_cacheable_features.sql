{{ config(materialized='view') }}

with

inputs as (
    select
        app_id,
        feature_id,
        provider,
        model,
        sum(requests) as requests,
        sum(uncached_input_tokens) as uncached_input_tokens,
        sum(cacheable_input_tokens) as cacheable_input_tokens,
        sum(repeated_requests) as repeated_requests,
        sum(repeated_input_tokens) as repeated_input_tokens
    from {{ ref('agg_feature_model_daily') }}
    where {{ is_looked_at('request_date', 'cache') }} and feature_id <> 'unattributed'
    group by app_id, feature_id, provider, model
    having
        sum(cache_read_tokens) = 0
        and sum(repeated_requests) >= {{ rule_threshold('cache', 'minimum_repeats') }}
),

-- of several prices, by the time of day, the one that saves least
rates as (
    select distinct on (price_provider, price_model)
        price_provider as provider,
        price_model as model,
        input_rate,
        cache_read_rate,
        cache_write_rate
    from {{ ref('int_llm_rates') }}
    where
        variant = 'standard'
        and tier_start = 0
        and {{ as_of() }} >= valid_from and {{ as_of() }} < valid_to
        and cache_read_rate < input_rate
    order by price_provider, price_model, input_rate - cache_read_rate, cache_write_rate desc, name_key
),

-- what is not read from the cache is taken to be written to it
cached as (
    select
        inputs.*,
        rates.input_rate,
        rates.cache_read_rate,
        {{ rule_threshold('cache', 'hit_rate') }} * inputs.repeated_input_tokens as hit_tokens,
        greatest(rates.cache_write_rate - rates.input_rate, 0) as surcharge
    from inputs
    inner join rates using (provider, model)
),

saved as (
    select
        *,
        {{ in_30_days(
            'hit_tokens * (input_rate - cache_read_rate) - (cacheable_input_tokens - hit_tokens) * surcharge', 'cache'
        ) }} as estimated_saving_usd
    from cached
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
    format('Cache what %s sends to %s/%s again and again', feature_id, provider, model) as title,
    jsonb_build_object(
        'requests', requests,
        'uncached_input_tokens', uncached_input_tokens,
        'cache_read_tokens', 0,
        'repeated_requests', repeated_requests,
        'repeated_input_tokens', repeated_input_tokens,
        'assumed_hit_rate', {{ rule_threshold('cache', 'hit_rate') }},
        'input_usd_per_1m_tokens', trim_scale(input_rate * 1000000),
        'cache_read_usd_per_1m_tokens', trim_scale(cache_read_rate * 1000000)
    ) as evidence,

    -- measures
    estimated_saving_usd,
    null::numeric as severity
from saved
where estimated_saving_usd >= {{ rule_threshold('cache', 'minimum_saving_usd') }}
