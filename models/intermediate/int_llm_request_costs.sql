{{ config(materialized='view') }}

-- read without CTEs: so of a model that asks for some groups only those are priced
select
    -- ids
    requests.session_group,
    requests.request_key,
    requests.closed_session_key,
    requests.told_by,
    requests.request_id,
    requests.message_id,
    requests.chat_id,
    requests.app_id,
    requests.user_id,
    requests.workspace_id,
    requests.project_id,
    requests.team_id,
    requests.feature_id,
    requests.plan,

    -- what
    requests.model,
    requests.provider,
    requests.service_tier,
    requests.baseline_model,
    requests.status,
    requests.status_code,
    requests.stopped,
    requests.regenerated,
    requests.was_routed,
    requests.router_confidence,
    requests.rating,
    requests.feedback,

    -- times
    requests.occurred_at,

    -- price
    rates.name_key,
    {{ once_closed('rates.price_provider', 'price_provider', 'text') }} as price_provider,
    {{ once_closed('rates.price_model', 'price_model', 'text') }} as price_model,
    {{ once_closed('rates.variant', 'price_variant', 'text') }} as price_variant,
    {{ once_closed('rates.price_version', 'price_version', 'text') }} as price_version,

    -- measures
    requests.input_tokens,
    requests.reasoning_tokens,
    requests.cache_write_1h_tokens,
    requests.input_audio_tokens,
    requests.output_audio_tokens,
    requests.total_tokens,
    requests.latency_ms,
    requests.reported_cost_usd,
    {{ once_closed(
        'case when requests.input_tokens is not null then counted.uncached end', 'uncached_input_tokens', 'bigint'
    ) }} as uncached_input_tokens,
    {{ once_closed(
        'coalesce(requests.cached_tokens, case when requests.input_tokens is not null then 0 end)',
        'cache_read_tokens', 'bigint'
    ) }} as cache_read_tokens,
    {{ once_closed(
        'case when num_nonnulls(requests.input_tokens, requests.cache_write_tokens, requests.cache_write_1h_tokens) > 0'
        ~ ' then told.cache_write end', 'cache_write_tokens', 'bigint'
    ) }} as all_cache_write_tokens,
    {{ once_closed(
        'case when requests.output_tokens is not null then counted.output end', 'output_tokens', 'bigint'
    ) }} as all_output_tokens,
    {{ once_closed(request_cost(''), 'computed_cost_usd', 'numeric') }} as computed_cost_usd,
    -- few do, and for all others it would be worked out twice
    requests.priced is not null or coalesce(rates.is_overridden, false) as has_list_cost,
    {{ once_closed(
        'case when rates.is_overridden then ' ~ request_cost('list_') ~ ' end', 'list_cost_usd', 'numeric'
    ) }} as list_cost_usd
from {{ ref('int_llm_requests') }} as requests
-- some tell what was written for an hour beside the rest
cross join
    lateral (
        select
            coalesce(requests.cached_tokens, 0) as cache_read,
            greatest(requests.cache_write_tokens, requests.cache_write_1h_tokens, 0) as cache_write,
            coalesce(requests.cache_write_1h_tokens, 0) as cache_write_1h,
            coalesce(requests.reasoning_tokens, 0) as reasoning,
            coalesce(requests.input_audio_tokens, 0) as input_audio,
            coalesce(requests.output_audio_tokens, 0) as output_audio
    ) as told
left join {{ ref('int_llm_rates') }} as rates
    on requests.model = rates.model
    and coalesce(requests.provider, '') = rates.provider
    and coalesce(requests.service_tier, '') = rates.service_tier
    and {{ rate_holds('requests.occurred_at', all_input_tokens()) }}
cross join
    lateral (
        select
            {{ uncached_tokens() }} as uncached,
            case
                when rates.output_includes_reasoning is not false and requests.output_tokens >= told.reasoning
                    then requests.output_tokens
                else coalesce(requests.output_tokens, 0) + told.reasoning
            end as output
    ) as counted
