{{ config(materialized='view') }}

-- what depends on now, and on the size bands, is decided when it is read
select
    -- ids
    workspaces.workspace_id,
    workspaces.app_id,

    -- what
    workspaces.workspace_name,
    workspaces.plan,
    workspaces.subscription_status,
    workspaces.industry,
    (
        select sizes.size_band
        from {{ ref('workspace_sizes') }} as sizes
        where
            coalesce(workspaces.member_count, nullif(workspaces.members_seen, 0))
            <= coalesce(sizes.members_up_to, 'infinity'::numeric)
        order by sizes.members_up_to nulls last
        limit 1
    ) as size_band,

    -- times
    workspaces.created_at,
    workspaces.first_active_at,
    workspaces.last_active_at,

    -- measures
    workspaces.member_count,
    workspaces.members_seen,
    (
        select count(visitors.user_id)
        from {{ ref('agg_workspace_visitors') }} as visitors
        where
            visitors.workspace_id = workspaces.workspace_id
            and visitors.last_seen_at >= {{ as_of() }} - interval '30 days'
    ) as members_active_30_days,
    workspaces.total_sessions
from {{ ref('agg_workspaces') }} as workspaces
