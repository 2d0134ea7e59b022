{{ config(materialized='view') }}

with

-- where sessions are no longer kept, who came back and who stayed away is known from so many days later on
apps as (
    select
        returns.app_id,
        min(returns.stat_date) as first_date,
        case
            when min(returns.stat_date) > min(earliest.stat_date)
                then min(returns.stat_date) + {{ dormant_after_days() }} + 1
            else min(returns.stat_date)
        end as known_from_date
    from {{ ref('agg_visitor_returns') }} as returns
    inner join (
        select app_id, min(stat_date) as stat_date from {{ ref('agg_daily_stats') }}
        group by app_id
    ) as earliest using (app_id)
    group by returns.app_id
),

-- visitors of a day by how many days they had been away, those who were not dormant by then
came_back as (
    select
        returns.app_id,
        returns.stat_date,
        away.days as away_days,
        away.visitors - lag(away.visitors, 1, 0) over (
            partition by returns.app_id, returns.stat_date order by away.days
        ) as visitors
    from {{ ref('agg_visitor_returns') }} as returns
    inner join apps using (app_id)
    cross join lateral unnest(returns.after_days, returns.returned_visitors) as away (days, visitors)
    where away.days <= {{ dormant_after_days() }} and returns.stat_date - away.days >= apps.first_date
),

returned as (
    select app_id, stat_date, sum(visitors) as visitors from came_back
    group by app_id, stat_date
),

stayed as (
    select app_id, stat_date - away_days as stat_date, sum(visitors) as visitors from came_back
    group by app_id, stat_date - away_days
),

churned as (
    select
        returns.app_id,
        returns.stat_date + {{ dormant_after_days() }} + 1 as stat_date,
        returns.unique_visitors - coalesce(stayed.visitors, 0) as visitors
    from {{ ref('agg_visitor_returns') }} as returns
    left join stayed using (app_id, stat_date)
),

flows as (
    select
        apps.app_id,
        each_day::date as stat_date,
        apps.known_from_date,
        coalesce(daily.unique_visitors, 0) as unique_visitors,
        coalesce(daily.new_visitors, 0) as new_visitors,
        coalesce(daily.unique_visitors - daily.new_visitors - coalesce(returned.visitors, 0), 0)::bigint
            as resurrected_visitors,
        coalesce(churned.visitors, 0)::bigint as churned_visitors
    from apps
    cross join
        lateral generate_series(
            apps.first_date::timestamp, {{ utc_date(as_of()) }}::timestamp, interval '1 day'
        ) as each_day
    left join {{ ref('agg_daily_stats') }} as daily
        on apps.app_id = daily.app_id and each_day::date = daily.stat_date
    left join returned on apps.app_id = returned.app_id and each_day::date = returned.stat_date
    left join churned on apps.app_id = churned.app_id and each_day::date = churned.stat_date
),

running as (
    select
        *,
        sum(new_visitors + resurrected_visitors - churned_visitors) over (
            partition by app_id order by stat_date
        ) as active_visitors
    from flows
)

select
    -- ids
    app_id,
    stat_date,

    -- measures
    unique_visitors,
    new_visitors,
    resurrected_visitors,
    churned_visitors,
    active_visitors::bigint as active_visitors
from running
where stat_date >= known_from_date
