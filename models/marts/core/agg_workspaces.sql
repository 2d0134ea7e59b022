{{
    config(
        meta={'touched': {'workspace_id': ['workspace', 'agg_workspace_visitors.workspace_id']}}
    )
}}

{% set told = ['plan', 'subscription_status', 'industry', 'member_count'] %}

with

newest_versions as (
    select distinct on (workspace_id) *
    from {{ ref('stg_workspaces') }}
    where {{ where_touched('workspace_id') }}
    order by
        workspace_id, updated_at desc nulls last, subscribed_at_text desc nulls last, content_hash
),

visitors as (
    select * from {{ ref('agg_workspace_visitors') }}
    where {{ where_touched('workspace_id') }}
),

seen as (
    select
        workspace_id,
        {% for name in told %}
        (
            array_agg({{ name }} order by {{ name }}_told_at desc, {{ name }}) filter (where {{ name }} is not null)
        )[1] as {{ name }},
        {% endfor %}
        (array_agg(app_id order by first_seen_at, visitor_id))[1] as app_id,
        min(first_seen_at) as first_active_at,
        max(last_seen_at) as last_active_at,
        count(user_id) as members_seen,
        sum(total_sessions)::bigint as total_sessions
    from visitors
    group by workspace_id
)

select
    -- ids
    workspace_id,
    coalesce(newest_versions.app_id, seen.app_id, 'default') as app_id,

    -- what
    newest_versions.workspace_name,
    {% for name in told %}
    coalesce(newest_versions.{{ name }}, seen.{{ name }}) as {{ name }},
    {% endfor %}

    -- times
    newest_versions.created_at,
    seen.first_active_at,
    seen.last_active_at,

    -- measures
    coalesce(seen.members_seen, 0) as members_seen,
    coalesce(seen.total_sessions, 0) as total_sessions
from newest_versions
full join seen using (workspace_id)
