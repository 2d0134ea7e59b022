{{ config(materialized='view') }}

with

-- a journey ends with the visit that converts; the next visit begins another
numbered as (
    select
        *,
        1 + count(*) filter (where converted) over (
            partition by visitor_id order by started_at, session_key
            rows between unbounded preceding and 1 preceding
        ) as journey_number
    from {{ ref('fct_sessions') }}
)

select
    -- ids
    visitor_id,
    journey_number,

    -- times
    min(started_at) as started_at,
    max(ended_at) as ended_at,

    -- measures
    bool_or(converted) as converted,
    count(*) as sessions,
    sum(llm_request_count)::bigint as llm_requests,
    sum(llm_unpriced_count)::bigint as unpriced_requests,
    sum(llm_cost_usd) as llm_cost_usd
from numbered
group by visitor_id, journey_number
