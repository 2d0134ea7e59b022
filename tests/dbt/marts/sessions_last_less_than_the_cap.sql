{{ config(tags=['nightly']) }}

-- A visit ends after it starts and before the cap.
select session_key, started_at, ended_at
from {{ ref('fct_sessions') }}
where
    ended_at < started_at
    or ended_at - started_at >= {{ var('session_cap_hours') }} * interval '1 hour'
    or duration_seconds <> extract(epoch from ended_at - started_at)
