{{
    config(
        meta={'touched': {'session_group': ['session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

with

merged as (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

requests as (
    select distinct on (request_id is null, coalesce(request_id, message_id, content_hash::text)) *
    from {{ ref('stg_llm_requests') }}
    where record_type = 'request' and {{ where_touched_in_raw('session_group', 'received_at') }}
    order by
        request_id is null, coalesce(request_id, message_id, content_hash::text), session_id is null, occurred_at,
        content_hash
),

server_rows as (
    select distinct on (sent.session_group, sent.content_hash, entry.place)
        sent.session_group,
        sent.content_hash,
        sent.user_id,
        sent.app_id,
        entry.place,
        entry.value as entry
    from {{ ref('stg_session_batches') }} as sent
    cross join lateral jsonb_array_elements(sent.llm_interactions) with ordinality as entry (value, place)
    where sent.is_server_row and {{ where_touched_in_raw('sent.session_group', 'sent.received_at') }}
    order by sent.session_group, sent.content_hash, entry.place
),

browser_entries as (
    select * from {{ ref('int_batch_entries') }}
    where kind = 'llm' and {{ where_touched('session_group') }}
)

select
    {{ owner_group('requests') }} as session_group,
    md5(coalesce('request|' || request_id, 'message|' || message_id, 'content|' || content_hash))::uuid as telling_key,
    'server' as told_by,
    request_id, message_id, chat_id, app_id, requests.user_id, workspace_id, project_id, team_id, feature_id, plan,
    model,
    provider,
    service_tier,
    baseline_model,
    status_code,
    status,
    stopped,
    regenerated,
    was_routed,
    router_confidence,
    occurred_at,
    input_tokens, output_tokens, total_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens,
    reasoning_tokens, input_audio_tokens, output_audio_tokens, input_includes_cached,
    latency_ms, cost_usd, rating, feedback
from requests
left join merged on requests.session_group = merged.session_group

union all

select
    {{ owner_group('server_rows') }} as session_group,
    md5('row|' || content_hash || '|' || place)::uuid as telling_key,
    'server' as told_by,
    entry ->> 'request_id' as request_id,
    entry ->> 'message_id' as message_id,
    entry ->> 'chat_id' as chat_id,
    app_id, server_rows.user_id, null, null, null, null, null,
    entry ->> 'model' as model,
    null, null, null,
    {{ to_number("entry ->> 'status_code'") }}::integer as status_code,
    case
        when {{ to_number("entry ->> 'status_code'") }} >= 400 then 'error'
        else 'success'
    end as status,
    null::boolean, null::boolean, null::boolean, null::numeric,
    (entry ->> 'timestamp')::timestamptz as occurred_at,
    null::bigint, null::bigint,
    (entry ->> 'tokens')::bigint as total_tokens,
    null::bigint, null::bigint, null::bigint, null::bigint, null::bigint, null::bigint, null::boolean,
    null::bigint,
    (entry ->> 'cost')::numeric as cost_usd,
    null::numeric, null
from server_rows
left join merged on server_rows.session_group = merged.session_group

union all

-- the browser says model, total, cost and time; `unknown` with no tokens is a generation the user stopped
select
    session_group,
    md5('entry|' || batch_id || '|' || occurrence || '|' || entry)::uuid as telling_key,
    'browser' as told_by,
    null, null, null, app_id, user_id, null, null, null, null, null,
    entry ->> 'model' as model,
    null, null, null, null::integer,
    case when entry ->> 'model' = 'unknown' and (entry ->> 'tokens')::bigint = 0 then 'stopped' else 'success' end,
    (entry ->> 'model' = 'unknown' and (entry ->> 'tokens')::bigint = 0) as stopped,
    null::boolean, null::boolean, null::numeric,
    occurred_at,
    null::bigint, null::bigint,
    (entry ->> 'tokens')::bigint as total_tokens,
    null::bigint, null::bigint, null::bigint, null::bigint, null::bigint, null::bigint, null::boolean,
    null::bigint,
    (entry ->> 'cost')::numeric as cost_usd,
    null::numeric, null
from browser_entries
