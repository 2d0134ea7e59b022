{{ config(materialized='view') }}

with

alerts as (
    select * from {{ ref('stg_budget_alerts') }}
),

-- a budget may have left the seed since
budgets as (
    select distinct budget, scope, scope_value from {{ ref('budgets') }}
)

select
    -- ids
    md5((alerts.budget, alerts.period, alerts.period_start_date, trim_scale(alerts.threshold_rate))::text)::uuid
        as alert_key,
    alerts.budget,
    budgets.scope,
    budgets.scope_value,
    alerts.period,
    alerts.threshold_rate,

    -- times
    alerts.period_start_date,
    (alerts.period_start_date + {{ period_length('alerts.period') }})::date - 1 as period_end_date,
    alerts.crossed_date,
    alerts.given_at,

    -- measures, as they were then
    alerts.amount_usd,
    alerts.spent_usd
from alerts
left join budgets on alerts.budget = budgets.budget
