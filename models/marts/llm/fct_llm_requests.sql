{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['request_date']
        },
        indexes=[{'columns': ['request_date']}]
    )
}}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }}
),

requests as (
    select * from {{ ref('int_llm_requests') }}
    where {{ where_touched('session_group') }}
),

session_metadata as (
    select * from {{ ref('int_session_metadata') }}
    where {{ where_touched('session_group') }}
),

feedback as (
    select distinct on (coalesce(request_id, message_id))
        request_id,
        message_id,
        rating,
        feedback,
        occurred_at
    from {{ ref('stg_llm_requests') }}
    where record_type = 'feedback' and {{ where_touched('session_group') }}
    order by coalesce(request_id, message_id), occurred_at desc, content_hash
),

final as (
    select
        -- ids
        requests.session_group,
        requests.request_key,
        visits.session_key,
        visits.visitor_id,
        coalesce(requests.user_id, visits.user_id) as user_id,
        coalesce(requests.app_id, visits.app_id) as app_id,
        requests.request_id,
        requests.message_id,
        requests.chat_id,
        coalesce(requests.workspace_id, session_metadata.workspace_id) as workspace_id,
        coalesce(requests.project_id, session_metadata.project_id) as project_id,
        coalesce(requests.team_id, session_metadata.team_id) as team_id,
        requests.feature_id,
        coalesce(requests.plan, session_metadata.plan) as plan,

        -- what
        requests.told_by,
        requests.model,
        requests.provider,
        requests.baseline_model,
        requests.status,
        requests.status_code,
        requests.stopped,
        requests.regenerated,
        requests.was_routed,
        requests.router_confidence,
        coalesce(by_request.rating, by_message.rating, requests.rating) as rating,
        coalesce(by_request.feedback, by_message.feedback, requests.feedback) as feedback,

        -- times
        requests.occurred_at as requested_at,
        {{ utc_date('requests.occurred_at') }} as request_date,

        -- measures
        requests.input_tokens,
        requests.output_tokens,
        requests.total_tokens,
        requests.cached_tokens,
        requests.cache_write_tokens,
        requests.reasoning_tokens,
        requests.latency_ms,
        requests.reported_cost_usd,
        requests.reported_cost_usd as cost_usd,
        case when requests.reported_cost_usd is null then 'unpriced' else 'reported' end as cost_basis
    from requests
    {{ join_visits('requests', 'occurred_at') }}
    left join session_metadata on visits.session_key = session_metadata.session_key
    left join feedback as by_request
        on requests.request_id = by_request.request_id
    left join feedback as by_message
        on requests.message_id = by_message.message_id and by_message.request_id is null
)

select * from final
