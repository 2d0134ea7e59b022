{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group', 'repriced_group']},
            'emits': ['request_date'], 'emits_whoever': ['request_date']
        },
        indexes=[{'columns': ['request_date']}, {'columns': ['request_id']}],
        pre_hook="{{ touch_repriced_groups() }}"
    )
}}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }}
),

-- `offset 0`: without it the planner works a request's price out anew for every column that is made of it
requests as (
    select * from {{ ref('int_llm_request_costs') }}
    where {{ where_touched('session_group') }}
    offset 0 -- noqa: AM09
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
        requests.occurred_at as requested_at,
        {{ utc_date('requests.occurred_at') }} as request_date,

        -- measures
        requests.input_tokens,
        requests.uncached_input_tokens,
        requests.cache_read_tokens,
        requests.all_cache_write_tokens as cache_write_tokens,
        requests.cache_write_1h_tokens,
        requests.input_audio_tokens,
        requests.all_output_tokens as output_tokens,
        requests.reasoning_tokens,
        requests.output_audio_tokens,
        requests.total_tokens,
        requests.latency_ms,

        -- cost
        requests.reported_cost_usd,
        requests.computed_cost_usd,
        case
            when requests.has_list_cost then requests.list_cost_usd
            else requests.computed_cost_usd
        end as list_cost_usd,
        coalesce(requests.reported_cost_usd, requests.computed_cost_usd) as cost_usd,
        case
            when requests.reported_cost_usd is not null then 'reported'
            when requests.computed_cost_usd is not null then 'computed'
            else 'unpriced'
        end as cost_basis,
        requests.price_provider,
        requests.price_model,
        requests.price_variant,
        requests.price_version
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
