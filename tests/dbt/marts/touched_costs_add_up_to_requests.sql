-- cost_daily_adds_up_to_requests for the days whose requests a refresh changed.
with

listed as materialized (
    select keys.cost_date::date as cost_date
    from {{ touched(['fct_llm_requests.request_date']) }} as keys (cost_date)
),

requests as (
    select
        request_date as cost_date,
        app_id,
        count(*) as requests,
        count(*) filter (where cost_usd is null) as unpriced_requests,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd
    from {{ ref('fct_llm_requests') }}
    where request_date in (select listed.cost_date from listed)
    group by request_date, app_id
),

days as (
    select
        cost_date,
        app_id,
        sum(requests) as requests,
        sum(unpriced_requests) as unpriced_requests,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd
    from {{ ref('agg_cost_daily') }}
    where cost_date in (select listed.cost_date from listed)
    group by cost_date, app_id
)

select *
from requests
full join days using (cost_date, app_id)
where
    (
        requests.requests,
        requests.unpriced_requests,
        requests.total_tokens,
        requests.cost_usd
    )
    is distinct from
    (
        days.requests,
        days.unpriced_requests,
        days.total_tokens,
        days.cost_usd
    )
