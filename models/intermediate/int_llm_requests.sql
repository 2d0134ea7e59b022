{{
    config(
        meta={'touched': {'session_group': ['session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

{% set recorded = {
    'told_by': 'text', 'request_id': 'text', 'message_id': 'text', 'chat_id': 'text', 'app_id': 'text',
    'user_id': 'text', 'workspace_id': 'text', 'project_id': 'text', 'team_id': 'text', 'feature_id': 'text',
    'plan': 'text', 'model': 'text', 'provider': 'text', 'service_tier': 'text', 'baseline_model': 'text',
    'status_code': 'integer', 'status': 'text', 'stopped': 'boolean', 'regenerated': 'boolean',
    'was_routed': 'boolean', 'router_confidence': 'numeric', 'occurred_at': 'timestamptz', 'input_tokens': 'bigint',
    'output_tokens': 'bigint', 'total_tokens': 'bigint', 'cached_tokens': 'bigint', 'cache_write_tokens': 'bigint',
    'cache_write_1h_tokens': 'bigint', 'reasoning_tokens': 'bigint', 'input_audio_tokens': 'bigint',
    'output_audio_tokens': 'bigint', 'input_includes_cached': 'boolean', 'latency_ms': 'bigint',
    'reported_cost_usd': 'numeric', 'rating': 'numeric', 'feedback': 'text',
    'priced': 'jsonb'
} %}
{# Of the columns recorded, those of the stream as it names them, and those that a session batch tells. #}
{% set sent_columns = recorded.keys() | reject('in', ['told_by', 'reported_cost_usd', 'priced']) | list %}
{% set batch_columns = ['request_id', 'message_id', 'chat_id', 'app_id', 'user_id', 'model', 'status_code', 'status',
    'stopped', 'occurred_at', 'total_tokens'] %}

with

merged as (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

-- read as often as it is named, like the tellings: a copy of every request would be more
sent as not materialized (
    {{ requests_sent_once() }}
),

tellings as not materialized (
    select
        {{ owner_group('sent') }} as session_group,
        md5(coalesce('request|' || request_id, 'message|' || message_id, 'content|' || content_hash))::uuid
            as telling_key,
        'server' as told_by,
        {% for column in sent_columns %}
        sent.{{ column }},
        {% endfor %}
        cost_usd
    from sent
    left join merged on sent.session_group = merged.session_group
    union all
    select
        session_group,
        telling_key,
        told_by,
        {% for column in sent_columns %}
        {{ column if column in batch_columns else 'null::' ~ recorded[column] }},
        {% endfor %}
        cost_usd
    from {{ ref('int_llm_tellings') }}
    where {{ where_touched('session_group') }}
),

-- of groups with a request that may have been told twice
contested as (
    select session_group, telling_key, told_by, app_id, user_id, model, total_tokens, cost_usd, stopped, occurred_at
    from tellings
    where
        session_group in (
            select in_browser.session_group from tellings as in_browser
            where in_browser.told_by = 'browser'
        )
),

-- a rating stands in a group of its own as a rule: the work list names it beside the group of its request
feedback as (
    select
        request_id,
        case when request_id is null then message_id end as message_id,
        (array_agg(rating order by occurred_at desc, content_hash) filter (where rating is not null))[1] as rating,
        (array_agg(feedback order by occurred_at desc, content_hash) filter (where feedback is not null))[1]
            as feedback
    from {{ ref('stg_llm_requests') }}
    where record_type = 'feedback' and {{ where_touched_in_raw('session_group', 'received_at') }}
    group by request_id, case when request_id is null then message_id end
),

closed_requests as (
    select * from {{ ref('stg_closed_requests') }}
    where {{ where_touched('session_group') }}
),

-- the same request told by the browser and by the server
matches as (
    {{ matching_tellings('contested') }}
),

-- one join for all that is not simply a request: the server's telling stands, with what the browser adds
resolved as (
    select
        server_key as telling_key, false as is_left_out, app_id, user_id, stopped,
        -- the zeros of a stopped generation are no count and no price
        case when not coalesce(stopped, false) then total_tokens end as total_tokens,
        case when not coalesce(stopped, false) then cost_usd end as cost_usd
    from matches
    where
        not exists (
            select from closed_requests
            where closed_requests.request_key = matches.server_key
        )
    union all
    select browser_key, true, null, null, null, null, null
    from matches
    union all
    select request_key, true, null, null, null, null, null
    from closed_requests
)

select
    told.session_group, told.telling_key as request_key, null::uuid as closed_session_key,
    case when resolved.telling_key is not null then 'both' else told.told_by end as told_by,
    told.request_id, told.message_id, told.chat_id,
    coalesce(told.app_id, resolved.app_id) as app_id,
    coalesce(told.user_id, resolved.user_id) as user_id,
    told.workspace_id, told.project_id, told.team_id, told.feature_id, told.plan,
    told.model, told.provider, told.service_tier, told.baseline_model,
    told.status_code,
    case when resolved.stopped then 'stopped' else told.status end as status,
    coalesce(resolved.stopped, told.stopped, false) as stopped,
    coalesce(told.regenerated, false) as regenerated,
    told.was_routed, told.router_confidence, told.occurred_at, told.input_tokens, told.output_tokens,
    coalesce(told.total_tokens, resolved.total_tokens) as total_tokens,
    told.cached_tokens, told.cache_write_tokens, told.cache_write_1h_tokens, told.reasoning_tokens,
    told.input_audio_tokens, told.output_audio_tokens, told.input_includes_cached, told.latency_ms,
    coalesce(told.cost_usd, resolved.cost_usd) as reported_cost_usd,
    coalesce(by_request.rating, by_message.rating, told.rating) as rating,
    coalesce(by_request.feedback, by_message.feedback, told.feedback) as feedback,
    null::jsonb as priced
from tellings as told
left join resolved on told.telling_key = resolved.telling_key
left join feedback as by_request on told.request_id = by_request.request_id
left join feedback as by_message on told.message_id = by_message.message_id and by_message.request_id is null
where resolved.is_left_out is not true

union all

select
    session_group, request_key, session_key as closed_session_key,
    {{ recorded_columns(recorded, 'request') }}
from closed_requests
