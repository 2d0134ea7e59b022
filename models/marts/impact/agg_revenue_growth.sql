{{ config(materialized='view') }}

with

-- an app is known from its first day on: from then a plan without a visit earned nothing
app_starts as (
    select app_id, min(revenue_date) as first_date
    from {{ ref('agg_revenue') }}
    group by app_id
),

plans as (
    select
        app_id,
        plan,
        min(revenue_date) as start_date,
        bool_or(revenue_usd is not null) as has_revenue
    from {{ ref('agg_revenue') }}
    group by app_id, plan
),

days as (
    select
        plans.app_id,
        plans.plan,
        app_starts.first_date,
        day::date as revenue_date,
        coalesce(revenue.revenue_usd, 0) as revenue_usd
    from plans
    inner join app_starts using (app_id)
    cross join
        lateral generate_series(
            plans.start_date::timestamp, {{ utc_date(as_of()) }} - interval '1 day', interval '1 day'
        ) as day
    left join {{ ref('agg_revenue') }} as revenue
        on plans.app_id = revenue.app_id and plans.plan = revenue.plan and day::date = revenue.revenue_date
    where plans.has_revenue
),

summed as (
    select
        *,
        revenue_date - first_date + 1 as history_days,
        coalesce(sum(revenue_usd) over (each_plan rows between 1 preceding and 1 preceding), 0) as day_before_usd,
        sum(revenue_usd) over (each_plan rows between 6 preceding and current row) as week_usd,
        coalesce(sum(revenue_usd) over (each_plan rows between 13 preceding and 7 preceding), 0) as week_before_usd
    from days
    window each_plan as (partition by app_id, plan order by revenue_date)
),

known as (
    select
        *,
        case when history_days > 1 then day_before_usd end as known_day_before_usd,
        case when history_days >= 14 then week_before_usd end as known_week_before_usd
    from summed
)

select
    -- ids
    revenue_date,
    app_id,
    plan,

    -- day over day
    revenue_usd,
    known_day_before_usd as day_before_usd,
    round(revenue_usd / nullif(greatest(known_day_before_usd, 0), 0) - 1, 4) as day_growth_rate,

    -- seven days over the seven before
    case when history_days >= 7 then week_usd end as week_usd,
    known_week_before_usd as week_before_usd,
    round(week_usd / nullif(greatest(known_week_before_usd, 0), 0) - 1, 4) as week_growth_rate
from known
