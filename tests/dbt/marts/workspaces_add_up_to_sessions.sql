{{ config(tags=['nightly']) }}

-- Every visit that names a workspace is counted in it, and every member once.
with

sessions as (
    select
        workspace_id,
        count(*) as total_sessions,
        count(distinct user_id) as members_seen,
        min(started_at) as first_active_at,
        max(ended_at) as last_active_at
    from {{ ref('fct_sessions') }}
    where workspace_id is not null
    group by workspace_id
),

workspaces as (
    select
        workspace_id,
        total_sessions,
        members_seen,
        first_active_at,
        last_active_at
    from {{ ref('dim_workspaces') }}
    where total_sessions > 0
)

select *
from sessions
full join workspaces using (workspace_id)
where
    (sessions.total_sessions, sessions.members_seen, sessions.first_active_at, sessions.last_active_at)
    is distinct from
    (workspaces.total_sessions, workspaces.members_seen, workspaces.first_active_at, workspaces.last_active_at)
