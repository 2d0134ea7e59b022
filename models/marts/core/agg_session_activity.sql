{{
    config(
        meta={'touched': {'session_group': ['session_group', 'int_sessions.session_group', 'repriced_group']}}
    )
}}

{% set names = "properties ->> 'feature_id', properties ->> 'featureId', properties ->> 'feature'" %}
{% set feature = "left(coalesce(" ~ names ~ "), 255)" %}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }} and is_closed is not true
),

page_views as (
    select
        session_key,
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
        sum(value_usd) filter (where is_conversion) as conversion_value
    from {{ ref('fct_goals') }}
    where {{ where_touched('session_group') }}
    group by session_key
),

events as (
    select
        session_key,
        count(*) as event_count,
        count(*) filter (where event_role = 'widget_loaded') as widget_loaded_count,
        bool_or(
            event_role = 'pre_chat_form_submitted'
            or (event_name = 'session_upsert' and properties ->> 'completed_pre_chat_form' = 'true')
        ) as completed_pre_chat_form,
        count(response_ms) filter (where event_role = 'message_received') as response_count,
        sum(response_ms) filter (where event_role = 'message_received') as response_ms
    from {{ ref('fct_events') }}
    where {{ where_touched('session_group') }}
    group by session_key
),

-- apart from the rest: what is aggregated in an order cannot be counted in parallel
widget_events as (
    select
        session_key,
        (
            array_agg(properties ->> 'trigger' order by occurred_at, event_id)
            filter (where event_role = 'widget_opened' and properties ->> 'trigger' is not null)
        )[1] as triggered_by,
        array_agg(distinct {{ feature }} order by {{ feature }}) filter (
            where event_role = 'feature_used' and {{ feature }} is not null
        ) as features_used
    from {{ ref('fct_events') }}
    where event_role in ('widget_opened', 'feature_used') and {{ where_touched('session_group') }}
    group by session_key
),

errors as (
    select session_key, count(*) as error_count
    from {{ ref('fct_errors') }}
    where {{ where_touched('session_group') }}
    group by session_key
),

counters as (
    select
        session_key,
        max(amount) filter (where counter = 'widget_opened_count') as widget_opened_count,
        max(amount) filter (where counter = 'widget_minimized_count') as widget_minimized_count,
        max(amount) filter (where counter = 'messages_sent') as messages_sent,
        max(amount) filter (where counter = 'messages_received') as messages_received
    from {{ ref('agg_session_counters') }}
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

    -- path
    coalesce(cardinality(page_views.path_sequence), 0)::bigint as pages_visited,
    page_views.path_sequence[1] as entry_page,
    page_views.path_sequence[cardinality(page_views.path_sequence)] as exit_page,
    coalesce(page_views.path_sequence, '{}') as path_sequence,
    coalesce(page_views.path_viewed_at, '{}') as path_viewed_at,

    -- goals
    coalesce(goals.goal_count, 0) as goal_count,
    coalesce(goals.conversion_count, 0) as conversion_count,
    goals.conversion_value,

    -- events
    coalesce(events.event_count, 0) as event_count,
    coalesce(errors.error_count, 0) as error_count,
    coalesce(events.widget_loaded_count, 0) as widget_loaded_count,
    coalesce(counters.widget_opened_count, 0) as widget_opened_count,
    coalesce(counters.widget_minimized_count, 0) as widget_minimized_count,
    coalesce(counters.messages_sent, 0) as messages_sent,
    coalesce(counters.messages_received, 0) as messages_received,
    coalesce(events.completed_pre_chat_form, false) as completed_pre_chat_form,
    widget_events.triggered_by,
    coalesce(widget_events.features_used, '{}') as features_used,
    coalesce(events.response_count, 0) as response_count,
    coalesce(events.response_ms, 0) as response_ms,

    -- llm
    coalesce(llm_requests.llm_request_count, 0) as llm_request_count,
    coalesce(llm_requests.llm_tokens, 0)::bigint as llm_tokens,
    llm_requests.llm_cost_usd,
    coalesce(llm_requests.llm_unpriced_count, 0) as llm_unpriced_count
from visits
left join page_views using (session_key)
left join goals using (session_key)
left join events using (session_key)
left join widget_events using (session_key)
left join errors using (session_key)
left join counters using (session_key)
left join llm_requests using (session_key)
