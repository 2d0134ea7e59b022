{{ config(materialized='view') }}

with

today as (
    select {{ utc_date(as_of()) }} as today
),

-- up to now: what begins or holds later is not known of yet
periods as (
    select
        budgets.*,
        period_start::date as period_start_date,
        (period_start + {{ period_length('budgets.period') }})::date - 1 as period_end_date
    from {{ ref('budgets') }} as budgets
    cross join today
    cross join
        lateral generate_series(
            {{ period_start('budgets.period', 'budgets.valid_from') }}::timestamp,
            least(today.today, budgets.valid_to - 1)::timestamp,
            {{ period_length('budgets.period') }}
        ) as period_start
    where budgets.valid_from <= today.today
)

select distinct on (budget, period_start_date)
    budget,
    scope,
    scope_value,
    period,
    period_start_date,
    period_end_date,
    amount_usd
from periods
order by budget, period_start_date, valid_from desc
