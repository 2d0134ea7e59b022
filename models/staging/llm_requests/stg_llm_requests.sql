-- read without a CTE: through one, what is computed here is computed for rows that a model's own condition leaves out
select
    -- ids
    session_group,
    content_hash,
    record_type,
    request_id,
    message_id,
    chat_id,
    app_id,
    session_id,
    anonymous_id,
    user_id,
    workspace_id,
    project_id,
    team_id,
    org_id,
    plan,
    feature_id,

    -- what
    model,
    provider,
    service_tier,
    baseline_model,
    status_code,
    coalesce(
        status,
        case
            when error_message is not null or status_code >= 400 then 'error'
            when stopped or finish_reason = 'stopped' then 'stopped'
            else 'success'
        end
    ) as status,
    finish_reason,
    stopped,
    regenerated,
    was_routed,
    router_confidence,

    -- times
    occurred_at,
    received_at,

    -- measures
    input_tokens,
    output_tokens,
    coalesce(total_tokens, input_tokens + output_tokens, input_tokens, output_tokens) as total_tokens,
    cached_tokens,
    cache_write_tokens,
    cache_write_1h_tokens,
    reasoning_tokens,
    input_audio_tokens,
    output_audio_tokens,
    input_includes_cached,
    latency_ms,
    cost_usd,
    rating,
    {{ scrubbed('feedback') }} as feedback
from {{ source('raw', 'llm_requests') }}
where
    not withheld and {{ is_published() }}
    -- a rating is no activity, and may be dated before the request it is for
    and ({{ is_open('occurred_at') }} or record_type = 'feedback')
    and {{ is_credible('occurred_at') }}
    and {{ is_not_opted_out('occurred_at') }}
