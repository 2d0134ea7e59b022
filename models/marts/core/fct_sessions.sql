{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group', 'repriced_group']},
            'emits': ['session_date', 'visitor_id'], 'emits_whoever': ['session_date']
        },
        indexes=[
            {'columns': ['app_id', 'started_at']},
            {'columns': ['session_date']},
            {'columns': ['visitor_id', 'started_at']}
        ]
    )
}}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }} and is_closed is not true
),

{% for name, relation in {
    'batches': ref('int_session_batches'), 'metadata': ref('int_session_metadata'),
    'touches': ref('agg_session_touches'), 'activity': ref('agg_session_activity')
}.items() %}
{{ name }} as (
    select * from {{ relation }}
    where {{ where_touched('session_group') }}
),

{% endfor %}
open_sessions as (
    select
        -- ids
        visits.session_group,
        visits.session_key,
        visits.app_id,
        visits.visitor_id,
        visits.user_id,
        visits.anonymous_id,
        coalesce(metadata.workspace_id, touches.workspace_id) as workspace_id,
        coalesce(metadata.project_id, touches.project_id) as project_id,
        coalesce(metadata.team_id, touches.team_id) as team_id,
        coalesce(metadata.org_id, touches.org_id) as org_id,
        coalesce(metadata.plan, touches.plan) as plan,
        metadata.experiment_variant,

        -- times
        visits.started_at,
        visits.ended_at,
        {{ utc_date('visits.started_at') }} as session_date,
        extract(epoch from visits.ended_at - visits.started_at) as duration_seconds,

        -- path
        activity.pages_visited,
        activity.entry_page,
        activity.exit_page,
        activity.path_sequence,
        array(
            select (extract(epoch from viewed_at - visits.started_at) * 1000)::bigint
            from unnest(activity.path_viewed_at) with ordinality as view (viewed_at, place)
            order by place
        ) as path_timings_ms,
        activity.pages_visited = 1 as bounce_session,

        -- first touch
        coalesce(touches.source, '(not set)') as source,
        coalesce(touches.medium, '(not set)') as medium,
        coalesce(touches.campaign, '(not set)') as campaign,
        touches.utm_source,
        touches.referrer_domain,
        touches.click_id,
        coalesce(touches.landing_page, activity.entry_page) as landing_page,

        -- client
        touches.device_type,
        touches.browser_name,
        touches.browser_version,
        touches.os_name,
        touches.os_version,
        coalesce(touches.is_bot, false) as is_bot,
        touches.screen_width,
        touches.screen_height,
        touches.country_code,
        touches.city,

        -- what happened
        {{ session_type(
            'activity.conversion_count', 'activity.pages_visited', 'coalesce(batches.interaction_count, 0)'
        ) }} as session_type,
        activity.conversion_count > 0 as converted,
        activity.conversion_value,
        activity.goal_count,
        coalesce(batches.batch_count, 0) as batch_count,
        activity.event_count,
        coalesce(batches.interaction_count, 0)::bigint as interaction_count,
        array(
            select distinct feature_id from unnest(activity.features_used || batches.features_used) as used (feature_id)
            order by feature_id
        ) as features_used,
        activity.error_count,

        -- widget and chat
        activity.widget_loaded_count,
        activity.widget_opened_count,
        activity.widget_minimized_count,
        (activity.messages_sent + coalesce(batches.messages_sent, 0))::bigint as messages_sent,
        activity.messages_received,
        activity.messages_sent + coalesce(batches.messages_sent, 0) > 0 as had_conversation,
        activity.completed_pre_chat_form,
        activity.triggered_by,
        activity.response_count + coalesce(batches.response_count, 0) as response_count,
        activity.response_ms + coalesce(batches.response_ms, 0) as response_ms,
        round(
            (activity.response_ms + coalesce(batches.response_ms, 0))
            / nullif(activity.response_count + coalesce(batches.response_count, 0), 0), 3
        ) as mean_response_ms,

        -- llm
        activity.llm_request_count,
        activity.llm_tokens,
        activity.llm_cost_usd,
        activity.llm_unpriced_count,

        metadata.metadata
    from visits
    inner join activity using (session_key)
    left join batches using (session_key)
    left join metadata using (session_key)
    left join touches using (session_key)
)

-- depends_on: {{ ref('stg_closed_visits') }}
{% set columns = contracted_columns('fct_sessions') %}

select {{ columns | join(', ') or '*' }} from open_sessions
{% if columns %}
union all
-- a closed visit stands as it was, but for whose it is: a later sign-in tells that
select
    {{ recorded_columns(columns, 'visit', instead=[
        'session_group', 'session_key', 'app_id', 'visitor_id', 'user_id', 'anonymous_id', 'started_at', 'ended_at'
    ]) }}
from (
    select visits.*, told.visit
    from {{ ref('stg_closed_visits') }} as told
    inner join {{ ref('int_sessions') }} as visits using (session_group, session_key)
    where {{ where_touched('session_group') }}
) as closed
{% endif %}
