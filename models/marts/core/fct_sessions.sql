{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['session_date', 'visitor_id']
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
    where {{ where_touched('session_group') }}
),

batches as (
    select * from {{ ref('int_session_batches') }}
    where {{ where_touched('session_group') }}
),

metadata as (
    select * from {{ ref('int_session_metadata') }}
    where {{ where_touched('session_group') }}
),

touches as (
    select * from {{ ref('int_session_touches') }}
    where {{ where_touched('session_group') }}
),

page_views as (
    select
        session_key,
        count(*) as pages_visited,
        (array_agg(page order by view_number))[1] as entry_page,
        (array_agg(page order by view_number desc))[1] as exit_page,
        array_agg(page order by view_number) as path_sequence,
        array_agg(viewed_at order by view_number) as path_viewed_at
    from {{ ref('fct_page_views') }}
    where {{ where_touched('session_group') }}
    group by session_key
),

goals as (
    select
        session_key,
        count(*) as goal_count,
        count(*) filter (where is_conversion) as conversion_count,
        sum(value) filter (where is_conversion) as conversion_value
    from {{ ref('fct_goals') }}
    where {{ where_touched('session_group') }}
    group by session_key
),

events as (
    select
        session_key,
        count(*) as event_count,
        count(*) filter (where event_role = 'error') as error_count,
        count(*) filter (where event_role = 'widget_loaded') as widget_loaded_count,
        count(*) filter (where event_role = 'widget_opened') as widget_opened_count,
        count(*) filter (where event_role = 'widget_minimized') as widget_minimized_count,
        count(*) filter (where event_role = 'message_sent') as messages_sent,
        count(*) filter (where event_role = 'message_received') as messages_received,
        bool_or(event_role = 'pre_chat_form_submitted') as completed_pre_chat_form,
        (array_agg(properties ->> 'trigger' order by occurred_at, event_id)
            filter (where event_role = 'widget_opened' and properties ->> 'trigger' is not null))[1] as triggered_by,
        count(response_ms) filter (where event_role = 'message_received') as response_count,
        sum(response_ms) filter (where event_role = 'message_received') as response_ms
    from {{ ref('fct_events') }}
    where {{ where_touched('session_group') }}
    group by session_key
),

llm_requests as (
    select
        session_key,
        count(*) as llm_request_count,
        sum(total_tokens) as llm_tokens,
        sum(cost_usd) as llm_cost_usd,
        count(*) filter (where cost_basis = 'unpriced') as llm_unpriced_count
    from {{ ref('fct_llm_requests') }}
    where {{ where_touched('session_group') }}
    group by session_key
)

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
    coalesce(page_views.pages_visited, 0) as pages_visited,
    page_views.entry_page,
    page_views.exit_page,
    coalesce(page_views.path_sequence, '{}') as path_sequence,
    coalesce(
        array(
            select (extract(epoch from viewed_at - visits.started_at) * 1000)::bigint
            from unnest(page_views.path_viewed_at) with ordinality as view (viewed_at, place)
            order by place
        ), '{}'
    ) as path_timings_ms,
    coalesce(page_views.pages_visited = 1, false) as bounce_session,

    -- first touch
    coalesce(touches.source, '(not set)') as source,
    coalesce(touches.medium, '(not set)') as medium,
    coalesce(touches.campaign, '(not set)') as campaign,
    touches.referrer_domain,
    coalesce(touches.landing_page, page_views.entry_page) as landing_page,

    -- client
    touches.device_type,
    touches.browser_name,
    touches.os_name,
    touches.screen_width,
    touches.screen_height,
    touches.country_code,
    touches.city,

    -- what happened
    case
        when coalesce(goals.conversion_count, 0) > 0 then 'conversion'
        when page_views.pages_visited = 1 and coalesce(batches.interaction_count, 0) < 2 then 'bounce'
        when page_views.pages_visited > 5 then 'exploration'
        else 'standard'
    end as session_type,
    coalesce(goals.conversion_count, 0) > 0 as converted,
    goals.conversion_value,
    coalesce(goals.goal_count, 0) as goal_count,
    coalesce(batches.batch_count, 0) as batch_count,
    coalesce(events.event_count, 0) as event_count,
    (coalesce(batches.interaction_count, 0))::bigint as interaction_count,
    coalesce(batches.features_used, '{}') as features_used,
    coalesce(batches.error_count, 0) + coalesce(events.error_count, 0) as error_count,

    -- widget and chat
    coalesce(events.widget_loaded_count, 0) as widget_loaded_count,
    coalesce(events.widget_opened_count, 0) as widget_opened_count,
    coalesce(events.widget_minimized_count, 0) as widget_minimized_count,
    (coalesce(events.messages_sent, 0) + coalesce(batches.messages_sent, 0))::bigint as messages_sent,
    coalesce(events.messages_received, 0) as messages_received,
    coalesce(events.messages_sent, 0) + coalesce(batches.messages_sent, 0) > 0 as had_conversation,
    coalesce(events.completed_pre_chat_form, false) as completed_pre_chat_form,
    events.triggered_by,
    (coalesce(events.response_count, 0) + coalesce(batches.response_count, 0))::bigint as response_count,
    round(
        (coalesce(events.response_ms, 0) + coalesce(batches.response_ms, 0))
        / nullif(coalesce(events.response_count, 0) + coalesce(batches.response_count, 0), 0), 3
    ) as mean_response_ms,

    -- llm
    coalesce(llm_requests.llm_request_count, 0) as llm_request_count,
    coalesce(llm_requests.llm_tokens, 0)::bigint as llm_tokens,
    llm_requests.llm_cost_usd,
    coalesce(llm_requests.llm_unpriced_count, 0) as llm_unpriced_count,

    metadata.metadata
from visits
left join batches using (session_key)
left join metadata using (session_key)
left join touches using (session_key)
left join page_views using (session_key)
left join goals using (session_key)
left join events using (session_key)
left join llm_requests using (session_key)
