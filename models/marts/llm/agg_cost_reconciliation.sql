{{ config(materialized='view') }}

with

lines as (
    select
        charge_key,
        settles,
        min(request_id) as request_id,
        min(provider) as provider,
        min(model) as model,
        min(cost_date) as first_date,
        max(cost_date) as last_date,
        count(distinct line_key) as cost_lines,
        case when bool_and(cost_usd is not null) then sum(cost_usd) end as told_usd
    from {{ ref('int_cost_lines') }}
    where settles is not null
    group by charge_key, settles
),

coverage as (
    select charge_key, sum(covered_usd) as covered_usd
    from {{ ref('agg_cost_coverage') }}
    group by charge_key
),

charges as (
    select charge_key, sum(billed_cost_usd) as counted_usd
    from {{ ref('agg_cost_charges') }}
    group by charge_key
)

select
    -- ids
    lines.charge_key,
    lines.request_id,

    -- what
    lines.settles,
    lines.provider,
    lines.model,
    lines.first_date,
    lines.last_date,

    -- measures
    lines.cost_lines,
    lines.told_usd,
    coalesce(coverage.covered_usd, 0) as covered_usd,
    case when lines.told_usd is not null then coalesce(charges.counted_usd, 0) end as counted_usd
from lines
left join coverage using (charge_key)
left join charges using (charge_key)
