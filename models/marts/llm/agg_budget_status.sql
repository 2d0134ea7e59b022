{{ config(materialized='view') }}

with

spending as (
    select
        periods.budget,
        periods.scope,
        periods.scope_value,
        periods.period,
        periods.period_start_date,
        periods.period_end_date,
        periods.amount_usd,
        least(
            extract(epoch from {{ as_of() }} - periods.period_start_date::timestamp at time zone 'UTC') / 86400,
            periods.period_end_date + 1 - periods.period_start_date
        ) as elapsed_days,
        coalesce(sum(costs.unpriced_requests), 0)::bigint as unpriced_requests,
        coalesce(sum(costs.cost_usd), 0) as spent_usd
    from {{ ref('agg_budget_periods') }} as periods
    left join {{ ref('agg_scope_cost_daily') }} as costs
        on periods.scope = costs.scope
        and periods.scope_value = costs.scope_value
        and costs.cost_date between periods.period_start_date and periods.period_end_date
        and costs.cost_date <= {{ utc_date(as_of()) }}
    group by
        periods.budget, periods.scope, periods.scope_value, periods.period, periods.period_start_date,
        periods.period_end_date, periods.amount_usd
),

rated as (
    select
        *,
        period_end_date < {{ utc_date(as_of()) }} as is_over,
        round(spent_usd / nullif(elapsed_days, 0), 6) as daily_burn_usd
    from spending
)

select
    -- ids
    rated.budget,
    rated.scope,
    rated.scope_value,
    rated.period,
    rated.period_start_date,
    rated.period_end_date,
    rated.is_over,

    -- so far
    rated.amount_usd,
    rated.spent_usd,
    rated.amount_usd - rated.spent_usd as remaining_usd,
    round(rated.spent_usd / nullif(rated.amount_usd, 0), 4) as spent_rate,
    rated.unpriced_requests,
    rated.daily_burn_usd,

    -- at the end of the period
    case when rated.is_over then 'over' else coalesce(forecasts.basis, 'short history') end as projection_basis,
    case when rated.is_over then rated.spent_usd else forecasts.forecast_usd end as projected_usd,
    case when rated.is_over then rated.spent_usd else forecasts.lower_usd end as projected_lower_usd,
    case when rated.is_over then rated.spent_usd else forecasts.upper_usd end as projected_upper_usd
from rated
left join {{ ref('agg_cost_forecast') }} as forecasts
    on rated.scope = forecasts.scope
    and rated.scope_value = forecasts.scope_value
    and rated.period = forecasts.period
    and rated.period_start_date = forecasts.period_start_date
