{{ config(tags=['nightly']) }}

-- The sessions that have an id, with all their visits count.
with

sessions as (
    select
        count(distinct session_group) as sessions,
        sum(pages_visited) as pages,
        sum(batch_count) as batches,
        sum(llm_tokens) as tokens,
        sum(llm_cost_usd) as cost_usd,
        sum(round(duration_seconds * 1000)) as duration_ms
    from {{ ref('fct_sessions') }}
    where session_group like 's:%'
),

summary as (
    select
        count(*) as sessions,
        sum(pages_visited) as pages,
        sum(batch_count) as batches,
        sum(llm_token_usage) as tokens,
        sum(llm_cost_estimate) as cost_usd,
        sum(session_duration_ms) as duration_ms
    from {{ ref('analytics_session_summary') }}
)

select *
from sessions
cross join summary
where
    (sessions.sessions, sessions.pages, sessions.batches, sessions.tokens, coalesce(sessions.cost_usd, 0))
    is distinct from
    (summary.sessions, summary.pages, summary.batches, summary.tokens, coalesce(summary.cost_usd, 0))
    -- a session's milliseconds are rounded once
    or abs(sessions.duration_ms - summary.duration_ms) > sessions.sessions
