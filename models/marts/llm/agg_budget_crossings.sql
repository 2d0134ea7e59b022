{{ config(materialized='view') }}

with

-- a day without costs crosses nothing
running as (
    select
        periods.*,
        costs.cost_date,
        sum(costs.cost_usd) over (
            partition by periods.budget, periods.period_start_date order by costs.cost_date
        ) as spent_usd
    from {{ ref('agg_budget_periods') }} as periods
    inner join {{ ref('agg_scope_cost_daily') }} as costs
        on periods.scope = costs.scope
        and periods.scope_value = costs.scope_value
        and costs.cost_date between periods.period_start_date and periods.period_end_date
    where costs.cost_date <= {{ utc_date(as_of()) }}
)

-- credits may bring it back and costs over it again: the first time counts
select distinct on (running.budget, running.period_start_date, thresholds.threshold_rate)
    running.budget,
    running.period,
    running.period_start_date,
    thresholds.threshold_rate,
    running.cost_date as crossed_date,
    running.amount_usd,
    running.spent_usd
from running
inner join {{ ref('budget_thresholds') }} as thresholds
    on running.spent_usd >= thresholds.threshold_rate * running.amount_usd
where running.spent_usd > 0
order by running.budget, running.period_start_date, thresholds.threshold_rate, running.cost_date
