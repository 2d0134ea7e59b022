{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['request_date']
        },
        indexes=[{'columns': ['request_date']}, {'columns': ['request_id']}]
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
        requests.rating,
        requests.feedback,

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
    inner join visits
        on requests.session_group = visits.session_group
        and case
            when visits.is_closed then requests.closed_session_key = visits.session_key
            else
                requests.closed_session_key is null
                and requests.occurred_at between visits.started_at and visits.ended_at
        end
    left join session_metadata on visits.session_key = session_metadata.session_key
)

select * from final
