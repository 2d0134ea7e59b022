{{
    config(
        meta={
            'touched': {'request_date': ['whoever:fct_llm_requests.request_date']},
            'touched_type': 'date'
        }
    )
}}

with

asked_again as (
    {{ requests_asked_again(where_touched('request_date')) }}
),

requests_of_chats as (
    select
        requests.request_date,
        requests.app_id,
        requests.chat_id,
        coalesce(requests.feature_id, 'unattributed') as feature_id,
        coalesce(requests.model, 'unknown') as model,
        requests.request_key,
        coalesce(requests.message_id, requests.request_key::text) as message_id,
        requests.requested_at,
        {{ request_outcome('requests') }} as outcome,
        asked_again.request_key is not null as was_asked_again,
        coalesce(
            {{ feedback_verdict('requests.app_id', 'requests.rating', 'requests.feedback') }}, 'none'
        ) as verdict
    from {{ ref('fct_llm_requests') }} as requests
    left join asked_again using (session_group, request_key)
    where requests.chat_id is not null and {{ where_touched('requests.request_date') }}
),

-- the last request that was liked resolves a chat's day, else its last one if it succeeded and went well
chats as (
    select distinct on (request_date, app_id, chat_id)
        request_date, app_id, chat_id, feature_id, model, requested_at,
        verdict = 'positive'
        or (outcome = 'succeeded' and {{ went_well('outcome', 'was_asked_again', 'verdict') }}) as is_resolved
    from requests_of_chats
    order by request_date, app_id, chat_id, (verdict = 'positive') desc, requested_at desc, request_key
),

messages as (
    select
        chats.request_date, chats.app_id, chats.chat_id, chats.feature_id, chats.model, chats.is_resolved,
        count(distinct requests.message_id) as messages
    from chats
    inner join requests_of_chats as requests
        on chats.request_date = requests.request_date
        and chats.app_id = requests.app_id
        and chats.chat_id = requests.chat_id
        and chats.requested_at >= requests.requested_at
    where chats.is_resolved
    group by chats.request_date, chats.app_id, chats.chat_id, chats.feature_id, chats.model, chats.is_resolved
    union all
    select request_date, app_id, chat_id, feature_id, model, is_resolved, null as messages
    from chats
    where not is_resolved
),

chats_of_day as (
    select
        request_date, app_id, feature_id, model,
        count(*) as chats,
        count(*) filter (where is_resolved) as resolved_chats,
        sum(messages)::bigint as resolving_messages
    from messages
    group by request_date, app_id, feature_id, model
),

requests_of_day as (
    select
        request_date, app_id, feature_id, model,
        sum(requests)::bigint as requests,
        sum(feedback_requests)::bigint as feedback_requests,
        coalesce(sum(requests) filter (where verdict = 'positive'), 0)::bigint as thumbs_up,
        coalesce(sum(requests) filter (where verdict = 'negative'), 0)::bigint as thumbs_down,
        sum(rated_requests)::bigint as rated_requests,
        sum(rating_sum) as rating_sum,
        coalesce(sum(requests) filter (where was_asked_again), 0)::bigint as regenerated_requests,
        coalesce(sum(requests) filter (where outcome = 'stopped'), 0)::bigint as stopped_requests
    from {{ ref('agg_llm_outcomes') }}
    where {{ where_touched('request_date') }}
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
