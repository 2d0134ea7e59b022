{{
    config(
        meta={
            'touched': {'cost_date': ['fct_llm_requests.request_date', 'agg_cost_charges.cost_date']},
            'touched_type': 'date',
            'emits': ['cost_date']
        },
        indexes=[{'columns': ['cost_date', 'app_id']}]
    )
}}

{% set owners = [
    'user_id', 'workspace_id', 'project_id', 'team_id', 'plan', 'feature_id', 'provider', 'service', 'model', 'category'
] %}

with

requests as (
    select
        *,
        request_date as cost_date,
        'llm' as category,
        null::text as service
    from {{ ref('fct_llm_requests') }}
    where {{ where_touched('request_date') }}
),

charges as (
    select * from {{ ref('agg_cost_charges') }}
    where {{ where_touched('cost_date') }}
),

-- no owner is a value of its own, never spread
owned as (
    select
        cost_date,
        app_id,
        visitor_id,
        {% for name in owners %}
        coalesce({{ name }}, 'unattributed') as {{ name }},
        {% endfor %}
        1 as request,
        input_tokens,
        output_tokens,
        total_tokens,
        cost_usd,
        cost_basis = 'unpriced' as is_unpriced,
        {{ has_failed('status', 'status_code') }} as is_failed
    from requests
    union all
    select
        cost_date,
        app_id,
        visitor_id,
        {% for name in owners %}
        coalesce({{ name }}, 'unattributed') as {{ name }},
        {% endfor %}
        0 as request,
        null as input_tokens,
        null as output_tokens,
        null as total_tokens,
        billed_cost_usd as cost_usd,
        false as is_unpriced,
        false as is_failed
    from charges
)

select
    -- ids
    cost_date,
    md5((app_id, visitor_id, {{ owners | join(', ') }})::text)::uuid as cost_key,
    app_id,
    user_id,
    visitor_id,
    workspace_id,
    project_id,
    team_id,
    plan,
    feature_id,
    provider,
    service,
    model,
    category,

    -- measures
    sum(request)::bigint as requests,
    count(*) filter (where is_failed) as failed_requests,
    count(*) filter (where is_unpriced) as unpriced_requests,
    (count(*) - sum(request))::bigint as cost_lines,
    count(*) filter (where request = 0 and cost_usd is null) as unconverted_lines,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(total_tokens)::bigint as total_tokens,
    sum(cost_usd) as cost_usd
from owned
group by cost_date, app_id, visitor_id, {{ owners | join(', ') }}
