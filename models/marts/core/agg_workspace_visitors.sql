{{
    config(
        meta={
            'touched': {'visitor_id': ['fct_sessions.visitor_id']},
            'touched_type': 'uuid',
            'emits': ['workspace_id']
        },
        indexes=[{'columns': ['workspace_id', 'last_seen_at']}]
    )
}}

{# what a visit tells of its workspace #}
{% set told = {
    'plan': "plan",
    'subscription_status': "coalesce(metadata ->> 'subscription_status', metadata ->> 'subscriptionStatus')",
    'industry': "coalesce(metadata ->> 'industry', metadata ->> 'workspace_industry')",
    'member_count': to_number("coalesce(metadata ->> 'workspace_size', metadata ->> 'workspaceSize')") ~ '::bigint',
} %}

with

sessions as (
    select
        {% for name, expression in told.items() %}
        {{ expression }} as {{ name }},
        {% endfor %}
        visitor_id,
        workspace_id,
        user_id,
        app_id,
        session_key,
        started_at,
        ended_at
    from {{ ref('fct_sessions') }}
    where workspace_id is not null and {{ where_touched('visitor_id') }}
)

select
    -- ids
    visitor_id,
    workspace_id,
    max(user_id) as user_id,
    (array_agg(app_id order by started_at, session_key))[1] as app_id,

    -- times
    min(started_at) as first_seen_at,
    max(ended_at) as last_seen_at,

    -- what its visits tell of the workspace, and when last
    {% for name in told %}
    (array_agg({{ name }} order by started_at desc, {{ name }}) filter (where {{ name }} is not null))[1] as {{ name }},
    max(started_at) filter (where {{ name }} is not null) as {{ name }}_told_at,
    {% endfor %}

    -- measures
    count(*) as total_sessions
from sessions
group by visitor_id, workspace_id
