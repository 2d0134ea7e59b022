{# A number of the seed anomaly_settings. #}
{% macro anomaly_setting(setting) -%}
    (
        select settings.value from {{ ref('anomaly_settings') }} as settings
        where settings.setting = '{{ setting }}'
    )
{%- endmacro %}


{# Identifies a series: a metric of one app, or of one workspace in it. #}
{% macro series_key(metric='metric', scope='scope', app_id='app_id', scope_value='scope_value') -%}
    md5(({{ metric }}, {{ scope }}, {{ app_id }}, {{ scope_value }})::text)::uuid
{%- endmacro %}


{# A series on one day, as the work list names it; series_of and day_of take it apart. #}
{% macro series_day(series_key='series_key', day='bucket_date') -%}
    ({{ series_key }}::text || ' ' || {{ day }}::text)
{%- endmacro %}


{% macro series_of(series_day) -%}
    left({{ series_day }}, 36)::uuid
{%- endmacro %}


{% macro day_of(series_day) -%}
    substr({{ series_day }}, 38)::date
{%- endmacro %}


{#
    What a relation tells that may be watched, by quarter of an hour: `amounts` is expression to SQL, a count or sum of
    rows that have it; rows that have none are left out before they are grouped. `parts` is kind of part to column, one
    or two: who may have moved it.
#}
{% macro measured(relation, at, day, amounts, parts, workspace='workspace_id') -%}
    select
        '{{ relation.identifier }}' as relation,
        told.expression,
        quarters.app_id,
        quarters.workspace_id,
        quarters.quarter_at,
        {% for place in range(2) %}
        {{ "'" ~ (parts.keys() | list)[place] ~ "'" if parts | length > place else 'null' }}::text as part_kind_{{ place }},
        quarters.part_{{ place }},
        {% endfor %}
        told.amount,
        told.measurements
    from (
        select
            app_id,
            {{ workspace }} as workspace_id,
            {{ bucket(at, 15) }} as quarter_at,
            {% for place in range(2) %}
            {{ (parts.values() | list)[place] if parts | length > place else 'null' }}::text as part_{{ place }},
            {% endfor %}
            {% for amount in amounts.values() %}
            sum(({{ amount }})::numeric) as amount_{{ loop.index }},
            count({{ amount }}) as measurements_{{ loop.index }}{{ ',' if not loop.last }}
            {% endfor %}
        from {{ relation }}
        where
            {{ where_touched(day) }} and {{ at }} >= (select ops.horizon())
            {{ 'and num_nonnulls(' ~ amounts.values() | join(', ') ~ ') > 0' if '1' not in amounts.values() }}
        group by app_id, workspace_id, quarter_at, part_0, part_1
    ) as quarters
    cross join
        lateral (
            values
            {% for expression in amounts %}
            ('{{ expression }}', quarters.amount_{{ loop.index }}, quarters.measurements_{{ loop.index }}){{ ',' if not loop.last }}
            {% endfor %}
        ) as told (expression, amount, measurements)
    where told.measurements > 0
{%- endmacro %}


{# Sum or mean of so many measurements that come to an amount. #}
{% macro measure_of(measure, amount, measurements) -%}
    trim_scale(case {{ measure }} when 'mean' then round({{ amount }} / {{ measurements }}, 6) else {{ amount }} end)
{%- endmacro %}


{# The expected value of a bucket is made of so many of the same hours of the day or week before it. #}
{% macro baseline_seasons() -%}
    8
{%- endmacro %}


{# Days before a day that its verdicts look back on: eight weeks, of which the counts of the last four say what is usual. #}
{% macro lookback_days() -%}
    56
{%- endmacro %}


{#
    Of the days that a day's observations are made of, how many lie between: the same days of the seasons before, each with
    the day before it, on which the smoothed residual of the first hours stands; the days of the level; and itself.
#}
{% macro is_read_for(days_before, season_days) -%}
    (({{ days_before }}) between 0 and 9
    or (({{ days_before }}) between 0 and {{ baseline_seasons() }} * {{ season_days }} + 1 and ({{ days_before }}) % {{ season_days }} <= 1))
{%- endmacro %}


{#
    Before observations are made: what changed on a day changes the days that look back on it; and the hours that passed
    are new buckets of every series that is watched, measured or not. `first_open` is where the last refresh ended.
#}
{% macro touch_watched_days() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        with today as (
            select {{ utc_date(as_of()) }} as today, least(max(bucket_date), {{ utc_date(as_of()) }}) as first_open
            from {{ this }}
        ),
        changed as (
            select {{ series_of('key') }} as series_key, {{ day_of('key') }} as day
            from ops.touched
            where target = '{{ target_mark() }}' and kind = 'agg_metric_values.series_day'
        )
        select distinct '{{ target_mark() }}', 'agg_metric_values.series_day', series_day from (
            select {{ series_day('changed.series_key', 'each_day::date') }} as series_day
            from changed
            cross join today
            cross join lateral generate_series(
                changed.day::timestamp, least(today.today, changed.day + {{ lookback_days() }} + 1)::timestamp, interval '1 day'
            ) as each_day
            union all
            select {{ series_day('measured.series_key', 'each_day::date') }}
            from {{ ref('agg_metric_values') }} as measured
            cross join today
            cross join lateral generate_series(
                greatest(measured.bucket_date, today.first_open)::timestamp,
                least(measured.bucket_date + {{ anomaly_setting('watched_days') }}::integer, today.today)::timestamp, interval '1 day'
            ) as each_day
            where measured.bucket_date
                between today.first_open - {{ anomaly_setting('watched_days') }}::integer and today.today
            union all
            select series_day from {{ this }} cross join today where bucket_date >= today.today
        ) as watched
    {% endif %}
{% endmacro %}


{# Before verdicts are given: an observation that changed is in the look-back of the days after it. #}
{% macro touch_judged_days() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        with changed as (
            select {{ series_of('key') }} as series_key, min({{ day_of('key') }}) as first_day, max({{ day_of('key') }}) as last_day
            from ops.touched
            where target = '{{ target_mark() }}' and kind = 'metric_observations.series_day'
            group by {{ series_of('key') }}
        )
        select distinct '{{ target_mark() }}', 'judged_day', {{ series_day('changed.series_key', 'each_day::date') }}
        from changed
        cross join lateral generate_series(
            changed.first_day::timestamp,
            least({{ utc_date(as_of()) }}, changed.last_day + {{ lookback_days() }})::timestamp, interval '1 day'
        ) as each_day
    {% endif %}
{% endmacro %}


{# Median of an array of numbers, and their median distance from it as a standard deviation; null for an empty one. #}
{% macro median_of(numbers) -%}
    (select percentile_cont(0.5) within group (order by number) from unnest({{ numbers }}) as number)
{%- endmacro %}


{% macro spread_around(numbers, median) -%}
    (
        select 1.4826 * percentile_cont(0.5) within group (order by abs(number::double precision - {{ median }}))
        from unnest({{ numbers }}) as number
    )
{%- endmacro %}


{# Rows of the touched series from so many days before their first touched day to their last one. #}
{% macro look_back_from_touched(alias, before, and_days='0') -%}
    {%- if is_incremental() -%}
    inner join (
        select
            {{ series_of('key') }} as series_key,
            min({{ day_of('key') }}) - {{ before }} - {{ and_days }}::integer as first_day,
            max({{ day_of('key') }}) as last_day
        from keys_to_replace as listed
        group by {{ series_of('key') }}
    ) as looked_back
        on
            {{ alias }}.series_key = looked_back.series_key
            and {{ alias }}.bucket_date between looked_back.first_day and looked_back.last_day
    {%- endif -%}
{%- endmacro %}


{#
    CTEs that end with `baselines`: each known bucket of `buckets` (series_key, bucket_at, grain_minutes, season_days,
    value) beside what was usual before it. Nothing reads the bucket itself, nor a later one, but the deviations do.
    `expected` is the median of the same hour (of the day, or of the week) in the eight seasons before; `usual_level`
    the mean of the day before, of the week before where buckets are days. Spans are told in hours: a day of the session's
    time zone may have 23.
#}
{% macro baselines_of(buckets) -%}
known as (
    select
        series_key,
        season_days,
        grain_minutes,
        bucket_at,
        {{ bucket('bucket_at', 'greatest(60, grain_minutes)') }} as slot_at,
        value,
        lag(value) over in_order as value_before,
        lag(bucket_at) over in_order as bucket_before,
        case
            when grain_minutes < 1440
                then avg(value) over (in_order range between interval '24 hours' preceding and interval '1 minute' preceding)
            else avg(value) over (in_order range between interval '168 hours' preceding and interval '1 minute' preceding)
        end as usual_level
    from {{ buckets }}
    where value is not null
    window in_order as (partition by series_key order by bucket_at)
),

slots as (
    select
        series_key,
        season_days,
        slot_at,
        extract(epoch from slot_at)::bigint % (season_days * 86400) as place,
        avg(value) as value
    from known
    group by series_key, season_days, slot_at
),

histories as (
    select
        series_key,
        slot_at,
        case season_days
            when 1
                then array_agg(value) over (
                    same_hour range between interval '{{ 24 * baseline_seasons() | int }} hours' preceding and interval '1 hour' preceding
                )
            else array_agg(value) over (
                same_hour range between interval '{{ 168 * baseline_seasons() | int }} hours' preceding and interval '1 hour' preceding
            )
        end as past
    from slots
    window same_hour as (partition by series_key, season_days, place order by slot_at)
),

medians as (
    select
        series_key,
        slot_at,
        cardinality(past) as seasons,
        median,
        {{ spread_around('past', 'median') }} as spread
    from histories
    cross join lateral {{ median_of('past') }} as middle (median)
    where past is not null
),

residuals as (
    select
        known.*,
        coalesce(medians.seasons, 0) as seasons,
        round(medians.median::numeric, 6) as expected,
        round(medians.spread::numeric, 6) as spread,
        known.value - round(medians.median::numeric, 6) as seasonal_residual
    from known
    left join medians using (series_key, slot_at)
),

baselines as (
    select
        series_key,
        bucket_at,
        seasons,
        expected,
        spread,
        round(usual_level, 6) as usual_level,
        round(value - usual_level, 6) as level_deviation,
        round(seasonal_residual, 6) as seasonal_residual,
        case
            when seasonal_residual is not null
                then round(avg(seasonal_residual) over (
                    partition by series_key order by bucket_at
                    range between interval '119 minutes' preceding and current row
                ), 6)
        end as smoothed_residual,
        case when bucket_before >= bucket_at - interval '24 hours' then round(value - value_before, 6) end as first_difference
    from residuals
)
{%- endmacro %}


{# A number as its unit is read aloud. #}
{% macro spoken(amount, unit) -%}
    case {{ unit }}
        when 'usd' then '$' || to_char({{ amount }}, 'FM999,999,999,990.00')
        when 'share' then to_char(100 * {{ amount }}, 'FM990.0') || ' %'
        when 'ms' then to_char({{ amount }}, 'FM999,999,999,990') || ' ms'
        else rtrim(to_char({{ amount }}, 'FM999,999,999,990.9'), '.')
    end
{%- endmacro %}


{# What is wrong with the seed anomaly_rules: line of the file, and why. A seed's rows lie in the order of its lines. #}
{% macro complaints_of_anomaly_rules() -%}
    select line, complaint from (
        select
            rules.line,
            case
                when metrics.metric is null
                    then 'rule ' || rules.rule || ' watches the metric ' || coalesce(rules.metric, '(none)')
                    || ', which seeds/metrics.csv does not list'
                when rules.detector not in ('fixed_threshold', 'seasonal_baseline', 'self_calibrating', 'count_tail')
                    or rules.detector is null
                    then 'rule ' || rules.rule || ' has no known detector'
                when rules.detector = 'fixed_threshold' and num_nonnulls(rules.spike_threshold, rules.drop_threshold_percent) <> 1
                    then 'rule ' || rules.rule || ' needs spike_threshold or drop_threshold_percent, one of the two'
                when rules.detector = 'fixed_threshold' and (
                    rules.window_minutes is null or rules.window_minutes <= 0 or rules.window_minutes > 1440
                    or rules.window_minutes % metrics.grain_minutes <> 0
                )
                    then 'rule ' || rules.rule || ' needs window_minutes, a multiple of the metric''s ' || metrics.grain_minutes
                    || ' and at most 1440'
                when rules.spike_threshold <= 0 or rules.drop_threshold_percent not between 1 and 100
                    then 'rule ' || rules.rule || ' needs a spike_threshold above 0, or a drop_threshold_percent from 1 to 100'
                when rules.spike_threshold is not null and metrics.direction = 'below'
                    or rules.drop_threshold_percent is not null and metrics.direction = 'above'
                    then 'rule ' || rules.rule || ' looks to the other side than its metric, whose direction is ' || metrics.direction
                when rules.detector <> 'fixed_threshold' and coalesce(rules.threshold, 0) <= 0
                    then 'rule ' || rules.rule || ' needs a threshold above 0'
                when rules.detector = 'count_tail' and rules.threshold >= 1
                    then 'rule ' || rules.rule || ' needs a probability below 1 as its threshold'
                when rules.detector = 'count_tail' and metrics.measure <> 'sum'
                    then 'rule ' || rules.rule || ' counts, and its metric is a mean'
                when rules.critical_excess < 1
                    then 'rule ' || rules.rule || ' needs a critical_excess of 1 at least'
                when least(
                    rules.minimum_history_days, rules.cool_down_minutes, rules.minimum_spread, rules.minimum_spread_rate
                ) < 0
                    then 'rule ' || rules.rule || ' has a number below 0'
            end as complaint
        from (
            select *, row_number() over (order by ctid) + 1 as line from {{ ref('anomaly_rules') }}
        ) as rules
        left join {{ ref('metrics') }} as metrics on rules.metric = metrics.metric
    ) as checked
    where complaint is not null
{%- endmacro %}


{# Before verdicts: a rule that cannot be followed stops the build, rather than never firing. #}
{% macro refuse_bad_anomaly_rules() %}
    {% if execute %}
        {% for row in run_query(complaints_of_anomaly_rules() ~ ' order by line').rows %}
            {{ exceptions.raise_compiler_error('seeds/anomaly_rules.csv, line ' ~ row[0] ~ ': ' ~ row[1]) }}
        {% endfor %}
    {% endif %}
{% endmacro %}
