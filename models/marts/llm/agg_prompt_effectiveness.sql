{{
    config(
        meta={
            'touched': {'request_date': ['fct_llm_requests.request_date']},
            'touched_type': 'date'
        }
    )
}}

with

outcomes as (
    select
        request_date,
        app_id,
        chat_id,
        coalesce(feature_id, 'unattributed') as feature_id,
        coalesce(model, 'unknown') as model,
        request_key,
        requested_at,
        rating,
        num_nonnulls(rating, feedback) > 0 as has_feedback,
        coalesce(verdict = 'positive', false) as is_liked,
        coalesce(verdict = 'negative', false) as is_disliked,
        has_succeeded,
        was_stopped,
        was_asked_again,
        is_repeat,
        went_well
    from (
        {{ request_outcomes(where_touched('request_date')) }}
    ) as requests
),

-- the last request that was liked resolves a chat's day, else its last one if it succeeded and went well
chats as (
    select distinct on (request_date, app_id, chat_id)
        request_date, app_id, chat_id, feature_id, model, requested_at,
        is_liked or (has_succeeded and went_well) as is_resolved
    from outcomes
    where chat_id is not null
    order by request_date, app_id, chat_id, is_liked desc, requested_at desc, request_key
),

-- a message asked again counts once
messages as (
    select
        chats.request_date, chats.app_id, chats.chat_id, chats.feature_id, chats.model, chats.is_resolved,
        count(*) filter (where not outcomes.is_repeat) as messages
    from chats
    inner join outcomes
        on chats.request_date = outcomes.request_date
        and chats.app_id = outcomes.app_id
        and chats.chat_id = outcomes.chat_id
        and chats.requested_at >= outcomes.requested_at
    group by chats.request_date, chats.app_id, chats.chat_id, chats.feature_id, chats.model, chats.is_resolved
),

chats_of_day as (
    select
        request_date, app_id, feature_id, model,
        count(*) as chats,
        count(*) filter (where is_resolved) as resolved_chats,
        (sum(messages) filter (where is_resolved))::bigint as resolving_messages
    from messages
    group by request_date, app_id, feature_id, model
),

requests_of_day as (
    select
        request_date, app_id, feature_id, model,
        count(*) as requests,
        count(*) filter (where has_feedback) as feedback_requests,
        count(*) filter (where is_liked) as thumbs_up,
        count(*) filter (where is_disliked) as thumbs_down,
        count(rating) as rated_requests,
        sum(rating) as rating_sum,
        count(*) filter (where was_asked_again) as regenerated_requests,
        count(*) filter (where was_stopped) as stopped_requests
    from outcomes
    group by request_date, app_id, feature_id, model
)

select
    -- ids
    requests.request_date,
    requests.app_id,
    requests.feature_id,
    requests.model,

    -- feedback
    requests.requests,
    requests.feedback_requests,
    {{ ratio('requests.feedback_requests', 'requests.requests') }} as feedback_rate,
    requests.thumbs_up,
    requests.thumbs_down,
    {{ ratio('requests.thumbs_up', 'requests.thumbs_up + requests.thumbs_down') }} as thumbs_up_rate,
    requests.rated_requests,
    requests.rating_sum,
    {{ ratio('requests.rating_sum', 'requests.rated_requests') }} as mean_rating,

    -- without words
    requests.regenerated_requests,
    {{ ratio('requests.regenerated_requests', 'requests.requests') }} as regenerate_rate,
    requests.stopped_requests,
    {{ ratio('requests.stopped_requests', 'requests.requests') }} as stop_rate,

    -- chats
    coalesce(chats.chats, 0) as chats,
    coalesce(chats.resolved_chats, 0) as resolved_chats,
    {{ ratio('chats.resolved_chats', 'chats.chats') }} as resolution_rate,
    chats.resolving_messages,
    {{ ratio('chats.resolving_messages', 'chats.resolved_chats') }} as messages_to_resolution
from requests_of_day as requests
left join chats_of_day as chats using (request_date, app_id, feature_id, model)
