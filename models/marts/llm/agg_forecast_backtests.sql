{{
    config(
        meta={'touched': {'scope': ['forecast_scope']}, 'depends_on_now': true},
        pre_hook="{{ touch_forecasts() }}"
    )
}}

{% set periods = ['day', 'week', 'month', 'quarter', 'year'] %}

with

today as (
    select {{ utc_date(as_of()) }} as today
),

-- days from today to the end of the running periods, today included
horizons as (
    select
        {% for period in periods %}
        ({{ period_start("'" ~ period ~ "'", 'today') }} + {{ period_length("'" ~ period ~ "'") }})::date - today
            as days_of_{{ period }},
        {% endfor %}
        today
    from today
),

-- running totals: what any span of days cost, or is expected to cost, is a difference of two
totals as (
    select
        *,
        sum(expected_usd) over by_day as expected_total,
        sum(cost_usd) over by_day as cost_total
    from {{ ref('agg_expected_costs') }}
    window by_day as (partition by scope, scope_value order by cost_date)
),

-- each day as the eve of an origin: the totals there, a week and four weeks before, within that week, and at the end
eves as (
    select
        totals.*,
        horizons.*,
        totals.cost_date + 1 as origin_date,
        lag(totals.expected_total, 7, 0) over by_day as expected_week_before,
        lag(totals.cost_total, 7, 0) over by_day as cost_week_before,
        {% for period in periods %}
        lag(totals.expected_total, 7 - horizons.days_of_{{ period }} % 7, 0) over by_day as expected_rest_{{ period }},
        lag(totals.cost_total, 7 - horizons.days_of_{{ period }} % 7, 0) over by_day as cost_rest_{{ period }},
        lead(totals.cost_total, horizons.days_of_{{ period }}) over by_day as cost_end_{{ period }},
        {% endfor %}
        lag(totals.cost_total, 28, 0) over by_day as cost_four_weeks_before
    from totals
    cross join horizons
    window by_day as (partition by totals.scope, totals.scope_value order by totals.cost_date)
),

-- a forecast looks no further ahead than its history goes back
origins as (
    select
        eves.*,
        ahead.*,
        eves.history_days >= greatest(7 * {{ forecast_weeks() }}, ahead.horizon_days) as has_history
    from eves
    cross join
        lateral (
            values
            {% for period in periods %}
            (days_of_{{ period }}, expected_rest_{{ period }}, cost_rest_{{ period }}, cost_end_{{ period }})
            {{- ',' if not loop.last }}
            {% endfor %}
        ) as ahead (horizon_days, expected_rest, cost_rest, cost_end)
    where eves.origin_date = eves.today or extract(isodow from eves.origin_date) = 1
)

-- today, and every Monday that finds all days its forecast reads; two periods may end on one day
select distinct
    -- ids
    scope,
    scope_value,
    origin_date,
    horizon_days,

    -- measures
    history_days,
    case
        when has_history
            then round({{ weeks_repeated(
                'expected_total', 'expected_week_before', 'expected_rest', 'horizon_days'
            ) }}, 6)
    end as forecast_usd,
    case when has_history then round((cost_total - cost_four_weeks_before) / 28 * horizon_days, 6) end
        as trailing_mean_usd,
    case
        when has_history
            then round({{ weeks_repeated('cost_total', 'cost_week_before', 'cost_rest', 'horizon_days') }}, 6)
    end as naive_usd,
    cost_end - cost_total as actual_usd
from origins
where
    {{ if_any_listed() }}
    and {{ where_touched('scope') }}
    and (
        origin_date = today
        or (
            has_history
            and (days_read = history_days or days_read >= 7 * {{ forecast_weeks() }} + {{ usual_days() }})
        )
    )
