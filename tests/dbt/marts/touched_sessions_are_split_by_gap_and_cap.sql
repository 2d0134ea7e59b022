-- The same for the session groups a refresh touched: hourly, so no more than that is read.
with

ordered as (
    select
        session_group,
        session_key,
        started_at,
        ended_at,
        started_at - lag(ended_at) over by_start
        >= {{ var('session_gap_minutes') }} * interval '1 minute' as follows_gap
    from {{ ref('fct_sessions') }}
    where session_group in {{ touched(['session_group', 'int_sessions.session_group']) }}
    window by_start as (partition by session_group order by started_at)
),

numbered as (
    select *, count(*) filter (where follows_gap) over (partition by session_group order by started_at) as run_number
    from ordered
),

runs as (
    select *, min(started_at) over (partition by session_group, run_number) as run_started_at
    from numbered
),

caps as (
    select
        session_group,
        session_key,
        run_number,
        floor(extract(epoch from started_at - run_started_at) / 3600 / {{ var('session_cap_hours') }}) as starts_in,
        floor(extract(epoch from ended_at - run_started_at) / 3600 / {{ var('session_cap_hours') }}) as ends_in
    from runs
)

select session_group, run_number, starts_in
from caps
group by session_group, run_number, starts_in
having count(*) > 1 or min(ends_in) <> starts_in or max(ends_in) <> starts_in
