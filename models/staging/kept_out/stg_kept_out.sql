{% set times = {
    'events': 'occurred_at', 'llm_requests': 'occurred_at', 'identifies': 'occurred_at', 'costs': 'occurred_at'
} %}
{# streams whose records are several in one line; streams that the horizon closes #}
{% set elements = ['events', 'llm_requests'] %}
{% set closed = ['events', 'llm_requests'] %}

with

{% for stream, time in times.items() %}
{{ stream }} as (
    select
        load_id,
        line_number,
        {{ 'element' if stream in elements else '0 as element' }},
        received_at,
        withheld,
        {{ is_open(time) if stream in closed else 'true' }} as is_open,
        {{ is_credible(time) }} as is_credible
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
        {{ is_open(batch_time()) }} as is_open,
        {{ is_credible(newest_batch_time()) }} as is_credible
    from {{ source('raw', 'session_batches') }}
),

rows_of_raw as (
    {% for stream in ['session_batches'] + times | list %}
    select '{{ stream }}' as stream, * from {{ stream }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    stream,
    load_id,
    line_number,
    element,
    received_at,
    case
        when withheld then 'without consent'
        when not is_open then 'before the horizon'
        else 'from the future'
    end as reason
from rows_of_raw
where
    (withheld or not is_open or not is_credible)
    and load_id in {{ published_loads() }}
