{# A number of the seed forecast_settings. #}
{% macro forecast_setting(setting) -%}
    (
        select settings.value from {{ ref('forecast_settings') }} as settings
        where settings.setting = '{{ setting }}'
    )
{%- endmacro %}


{# A weekday is expected to be what it was in so many weeks before; a shorter history gives no forecast. #}
{% macro forecast_weeks() -%}
    5
{%- endmacro %}


{# Days before a day that say what is usual for it. #}
{% macro usual_days() -%}
    56
{%- endmacro %}


{#
    What the days from origin_date on are expected to come to, read off running totals up to a day: those of the day before
    the origin (`at_eve`), a week before that (`at_week_before`), and as many days after as the last week is short of
    seven (`at_rest`). The last seven days repeat.
#}
{% macro weeks_repeated(at_eve, at_week_before, at_rest, days) -%}
    ({{ at_eve }} - {{ at_week_before }}) * ({{ days }} / 7) + {{ at_rest }} - {{ at_week_before }}
{%- endmacro %}


{#
    Before forecasts of a model are made: all of them are made anew on a new day, and where past days changed, which the
    work list names by `changed`. `keys` are theirs, of the kind `kind`.
#}
{% macro touch_forecasts(kind, keys, changed) %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select '{{ target_mark() }}', '{{ kind }}', key
        from unnest(array['{{ keys | join("', '") }}']) as key
        where
            (select max(origin_date) from {{ this }}) is distinct from {{ utc_date(as_of()) }}
            or exists (
                select from ops.touched
                where
                    target = '{{ target_mark() }}' and kind = '{{ changed }}'
                    and key::date < {{ utc_date(as_of()) }}
            )
    {% endif %}
{% endmacro %}


{#
    CTEs that end with `expected`: each past day of the CTE `series` (`keys`, first_date, start_date, today), days that
    the CTE `daily` (`keys`, day, value) lacks included, with what its weekday is expected to be from then on.
#}
{% macro expected_values(keys) -%}
{%- set names = keys | join(', ') -%}
days as (
    select {{ names }}, series.first_date, series.start_date, each_day::date as day, coalesce(daily.value, 0) as value
    from series
    cross join
        lateral generate_series(
            series.start_date::timestamp, series.today - interval '1 day', interval '1 day'
        ) as each_day
    left join (select {{ names }}, day::timestamp as each_day, value from daily) as daily
        using ({{ names }}, each_day)
),

limited as (
    select
        *,
        {{ forecast_setting('outlier_factor') }} * nullif(max(abs(value)) over (
            partition by {{ names }} order by day rows between {{ usual_days() }} preceding and 1 preceding
        ), 0) as most
    from days
),

-- one broken price, or one flood of robots, must not become an expectation
capped as (
    select
        *,
        greatest(least(value, most), -most) as counted,
        (day - date '1970-01-05') / 7 as week,
        {{ forecast_weeks() }} as weeks
    from limited
),

-- of so many weeks the earliest weighs 1, the next one 2, …
expected as (
    select
        {{ names }},
        day,
        day + 1 - first_date as history_days,
        day + 1 - start_date as days_read,
        value,
        counted,
        round(
            (sum(counted * week) over last_weeks - (week - weeks) * sum(counted) over last_weeks)
            / (sum(week) over last_weeks - (week - weeks) * count(*) over last_weeks), 6
        ) as expected
    from capped
    window last_weeks as (
        partition by {{ names }}, extract(isodow from day) order by day
        rows between {{ forecast_weeks() | int - 1 }} preceding and current row
    )
)
{%- endmacro %}


{#
    CTEs that end with `forecasts`: what was to be forecast as of today and of each Monday before, over the days to the end
    of each running period, beside two simpler forecasts and what came, of the CTE `expected` (`keys`, day, history_days,
    days_read, value, expected).
#}
{% macro forecasts_of_the_past(keys) -%}
{%- set names = keys | join(', ') -%}
{%- set periods = ['day', 'week', 'month', 'quarter', 'year'] -%}
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

-- running totals: what any span of days came to, or is expected to, is a difference of two
totals as (
    select
        *,
        sum(expected) over by_day as expected_total,
        sum(value) over by_day as total
    from expected
    window by_day as (partition by {{ names }} order by day)
),

-- each day as the eve of an origin: the totals there, a week and four weeks before, within that week, and at the end
eves as (
    select
        totals.*,
        horizons.*,
        day + 1 as origin_date,
        lag(expected_total, 7, 0) over by_day as expected_week_before,
        lag(total, 7, 0) over by_day as week_before,
        {% for period in periods %}
        lag(expected_total, 7 - days_of_{{ period }} % 7, 0) over by_day as expected_rest_{{ period }},
        lag(total, 7 - days_of_{{ period }} % 7, 0) over by_day as rest_{{ period }},
        lead(total, days_of_{{ period }}) over by_day as end_{{ period }},
        {% endfor %}
        lag(total, 28, 0) over by_day as four_weeks_before
    from totals
    cross join horizons
    window by_day as (partition by {{ names }} order by day)
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
            (days_of_{{ period }}, expected_rest_{{ period }}, rest_{{ period }}, end_{{ period }})
            {{- ',' if not loop.last }}
            {% endfor %}
        ) as ahead (horizon_days, expected_rest, rest, end_total)
    where origin_date = today or extract(isodow from origin_date) = 1
),

-- today, and every Monday that finds all days its forecast reads; two periods may end on one day
forecasts as (
    select distinct
        {{ names }},
        origin_date,
        horizon_days,
        history_days,
        case
            when has_history
                then round({{ weeks_repeated(
                    'expected_total', 'expected_week_before', 'expected_rest', 'horizon_days'
                ) }}, 6)
        end as forecast,
        case when has_history then round((total - four_weeks_before) / 28 * horizon_days, 6) end as trailing_mean,
        case when has_history then round({{ weeks_repeated('total', 'week_before', 'rest', 'horizon_days') }}, 6) end
            as naive,
        end_total - total as actual
    from origins
    where
        origin_date = today
        or (
            has_history
            and (days_read = history_days or days_read >= 7 * {{ forecast_weeks() }} + {{ usual_days() }})
        )
)
{%- endmacro %}


{#
    CTEs that end with `projected`: the running periods with what they come to by their end, and an interval of the
    forecast's own past errors, of the CTEs `daily` (`keys`, day, value) and `made` (as forecasts_of_the_past has them).
#}
{% macro forecasts_of_periods(keys) -%}
{%- set names = keys | join(', ') -%}
periods as (
    select
        today,
        period,
        {{ period_start('period', 'today') }} as period_start_date,
        ({{ period_start('period', 'today') }} + {{ period_length('period') }})::date - 1 as period_end_date
    from (select {{ utc_date(as_of()) }} as today) as clock
    cross join unnest(array['day', 'week', 'month', 'quarter', 'year']) as period
),

running as (
    select made.*, periods.*
    from made
    inner join periods
        on made.origin_date = periods.today
        and made.horizon_days = periods.period_end_date - periods.today + 1
),

so_far as (
    select
        {{ names }},
        period,
        sum(daily.value) filter (where day < today) as before_today,
        sum(daily.value) filter (where day = today) as of_today
    from running
    inner join daily using ({{ names }})
    where day between period_start_date and today
    group by {{ names }}, period
),

-- what came in the past as a multiple of what was forecast then, over as many days
outcomes as (
    select
        *,
        case when forecast > 0 then actual / forecast end as outcome,
        count(*) filter (where forecast > 0) over (partition by {{ names }}, horizon_days) as outcomes,
        (1 - {{ forecast_setting('interval_share') }}) / 2 as tail
    from made
    where actual is not null and forecast is not null
),

-- the next outcome lies below the k-th of n with a chance of k in n + 1: fewer than 1 / tail - 1 give no interval
ranked as (
    select
        *,
        case when (outcomes + 1) * tail >= 1 then ((outcomes + 1) * tail - 1) / (outcomes - 1) end as lower_rank
    from outcomes
),

errors as (
    select
        {{ names }},
        horizon_days,
        count(*) as backtests,
        round(sum(abs(forecast - actual)) / nullif(sum(abs(actual)), 0), 4) as error_rate,
        round(sum(abs(trailing_mean - actual)) / nullif(sum(abs(actual)), 0), 4) as trailing_mean_error_rate,
        round(sum(abs(naive - actual)) / nullif(sum(abs(actual)), 0), 4) as naive_error_rate,
        (percentile_cont(lower_rank::double precision) within group (order by outcome))::numeric as lower_outcome,
        (percentile_cont(1 - lower_rank::double precision) within group (order by outcome))::numeric as upper_outcome
    from ranked
    group by {{ names }}, horizon_days, lower_rank
),

-- today is part of what was forecast for today: the rest of the period is never less than it is already
ends as (
    select
        *,
        coalesce(before_today, 0) as before,
        coalesce(of_today, 0) as today_so_far
    from running
    left join so_far using ({{ names }}, period)
    left join errors using ({{ names }}, horizon_days)
),

bounds as (
    select
        *,
        before + today_so_far as value,
        round(before + case when forecast is not null then greatest(forecast, today_so_far) end, 6) as at_end,
        round(before + case
            when forecast > 0 and lower_outcome is not null then greatest(forecast * lower_outcome, today_so_far)
        end, 6) as lower_end,
        round(before + case
            when forecast > 0 and upper_outcome is not null then greatest(forecast * upper_outcome, today_so_far)
        end, 6) as upper_end
    from ends
),

projected as (
    select
        *,
        case
            when at_end is null then 'short history'
            when lower_end is null then 'untested'
            else 'back-tested'
        end as basis
    from bounds
)
{%- endmacro %}
