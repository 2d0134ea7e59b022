{% set times = {
    'events': 'occurred_at', 'llm_requests': 'occurred_at', 'identifies': 'occurred_at', 'costs': 'occurred_at',
    'session_batches': 'greatest(updated_at, ended_at, ' ~ batch_time() ~ ')'
} %}
{# streams whose records are several in one line #}
{% set elements = ['events', 'llm_requests'] %}

-- read without a CTE: the days that a model asks for are the only partitions that are read
{% for stream, time in times.items() %}
select
    '{{ stream }}' as stream,
    load_id,
    line_number,
    {{ 'element' if stream in elements else '0' }} as element,
    content_hash,
    received_at,
    {{ time }} as happened_at
from {{ source('raw', stream) }}
where {{ is_published() }}
{{ 'union all' if not loop.last }}
{% endfor %}
