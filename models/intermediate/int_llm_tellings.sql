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

server_rows as (
    select distinct on (sent.session_group, sent.content_hash, entry.place)
        sent.session_group,
        sent.content_hash,
        sent.user_id,
        sent.anonymous_id,
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
    {{ owner_group('server_rows') }} as session_group,
    md5('row|' || content_hash || '|' || place)::uuid as telling_key,
    'server' as told_by,
    entry ->> 'request_id' as request_id,
    entry ->> 'message_id' as message_id,
    entry ->> 'chat_id' as chat_id,
    app_id,
    server_rows.user_id,
    server_rows.anonymous_id,
    entry ->> 'model' as model,
    {{ to_number("entry ->> 'status_code'") }}::integer as status_code,
    case
        when {{ to_number("entry ->> 'status_code'") }} >= 400 then 'error'
        else 'success'
    end as status,
    null::boolean as stopped,
    (entry ->> 'timestamp')::timestamptz as occurred_at,
    (entry ->> 'tokens')::bigint as total_tokens,
    (entry ->> 'cost')::numeric as cost_usd
from server_rows
left join merged on server_rows.session_group = merged.session_group

union all

-- the browser says model, total, cost and time; `unknown` with no tokens is a generation the user stopped
select
    session_group,
    md5('entry|' || batch_id || '|' || occurrence || '|' || entry)::uuid as telling_key,
    'browser' as told_by,
    null as request_id,
    null as message_id,
    null as chat_id,
    app_id,
    user_id,
    anonymous_id,
    entry ->> 'model' as model,
    null::integer as status_code,
    case when entry ->> 'model' = 'unknown' and (entry ->> 'tokens')::bigint = 0 then 'stopped' else 'success' end
        as status,
    (entry ->> 'model' = 'unknown' and (entry ->> 'tokens')::bigint = 0) as stopped,
    occurred_at,
    (entry ->> 'tokens')::bigint as total_tokens,
    (entry ->> 'cost')::numeric as cost_usd
from browser_entries
