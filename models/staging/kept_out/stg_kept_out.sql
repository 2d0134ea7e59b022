{% set times = {
    'events': 'occurred_at', 'llm_requests': 'occurred_at', 'identifies': 'occurred_at', 'costs': 'occurred_at'
} %}
{# streams whose records are several in one line; streams that the horizon closes; money counts whoever opted out #}
{% set elements = ['events', 'llm_requests'] %}
{% set closed = {
    'events': 'occurred_at', 'llm_requests': "case when record_type = 'request' then occurred_at end"
} %}

with

{% for stream, time in times.items() %}
{{ stream }} as (
    select
        load_id,
        line_number,
        {{ 'element' if stream in elements else '0 as element' }},
        received_at,
        withheld,
        {{ closed.get(stream, 'null::timestamptz') }} as closes_at,
        {{ is_credible(time) }} as is_credible,
        {{ is_not_opted_out(time) if stream != 'costs' else 'true' }} as is_welcome
    from {{ source('raw', stream) }}
),

{% endfor %}
session_batches as (
    select
        load_id,
        line_number,
        0 as element,
        received_at,
        withheld,
        {{ batch_time() }} as closes_at,
        {{ is_credible(newest_batch_time()) }} as is_credible,
        {{ is_not_opted_out(batch_time(), newest_batch_time()) }} as is_welcome
    from {{ source('raw', 'session_batches') }}
),

rows_of_raw as (
    {% for stream in ['session_batches'] + times | list %}
    select '{{ stream }}' as stream, * from {{ stream }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

loads as (
    select * from {{ source('raw', 'loads') }}
    where load_id in {{ published_loads() }}
),

closings as (
    select * from {{ source('ops', 'closings') }}
),

judged as (
    select
        rows_of_raw.*,
        (
            select count(*) > 0 from closings
            where rows_of_raw.closes_at < closings.horizon and loads.published_seq > closings.published_seq
        ) as came_too_late
    from rows_of_raw
    inner join loads on rows_of_raw.load_id = loads.load_id
)

select
    stream,
    load_id,
    line_number,
    element,
    received_at,
    case
        when withheld then 'without consent'
        when came_too_late then 'before the horizon'
        when not is_credible then 'from the future'
        else 'opted out'
    end as reason
from judged
where withheld or came_too_late or not is_credible or not is_welcome
