{{
    config(
        pre_hook="{{ touch_watched_days() }}",
        meta={
            'touched': {'series_day': ['agg_metric_values.series_day']},
            'emits': ['series_day'],
            'depends_on_now': true
        },
        indexes=[{'columns': ['series_day']}, {'columns': ['bucket_date']}]
    )
}}

with

measured as (
    select
        seen.series_key,
        seen.metric,
        metrics.kind,
        seen.app_id,
        seen.scope,
        seen.scope_value,
        metrics.grain_minutes,
        metrics.missing_bucket,
        metrics.season_days,
        seen.bucket_at,
        seen.bucket_date,
        seen.observations,
        -- a mean of too few is no mean
        case when seen.observations >= coalesce(metrics.minimum_count, 1) then seen.value end as value
    from {{ ref('agg_metric_values') }} as seen
    inner join {{ ref('metrics') }} as metrics
        on seen.metric = metrics.metric and seen.grain_minutes = metrics.grain_minutes
    {{ look_back_from_touched('seen', before=lookback_days() | int + 1, and_days=anomaly_setting('watched_days')) }}
),

-- a series is watched from its first bucket on, until so many days have passed without another
watched_days as (
    select
        series_key,
        metric,
        kind,
        app_id,
        scope,
        scope_value,
        grain_minutes,
        missing_bucket,
        season_days,
        bucket_date + days_after as bucket_date,
        case
            when not bool_or(days_after > 0) then min(bucket_at)
            else (bucket_date + days_after)::timestamp at time zone 'UTC'
        end as starts_at
    from measured
    cross join generate_series(0, {{ anomaly_setting('watched_days') }}::integer) as days_after
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
),

needed_days as (
    select * from watched_days
    {% if is_incremental() %}
    where
        exists (
            select from keys_to_replace as listed
            where
                {{ series_of('listed.key') }} = watched_days.series_key
                and {{ is_read_for(day_of('listed.key') ~ ' - watched_days.bucket_date', 'watched_days.season_days') }}
        )
    {% endif %}
),

-- only buckets that are over; no events is a count of zero, no measurement is not a mean of zero
buckets as (
    select
        needed_days.*,
        each_at as bucket_at,
        coalesce(measured.observations, 0) as observations,
        measured.series_key is null as is_gap,
        case
            when measured.series_key is not null then measured.value
            when needed_days.missing_bucket = 'zero' then 0
        end as value
    from needed_days
    cross join
        lateral generate_series(
            needed_days.starts_at,
            least(
                (needed_days.bucket_date + 1)::timestamp at time zone 'UTC', {{ as_of() }}
            ) - needed_days.grain_minutes * interval '1 minute',
            needed_days.grain_minutes * interval '1 minute'
        ) as each_at
    left join measured on needed_days.series_key = measured.series_key and each_at = measured.bucket_at
),

{{ baselines_of('buckets') }},

compared as (
    select
        buckets.*,
        baselines.seasons,
        baselines.expected,
        baselines.spread,
        baselines.usual_level,
        baselines.level_deviation,
        baselines.seasonal_residual,
        baselines.smoothed_residual,
        baselines.first_difference
    from buckets
    left join baselines using (series_key, bucket_at)
)

select
    -- ids
    series_key,
    {{ series_day() }} as series_day,
    metric,
    kind,
    app_id,
    scope,
    scope_value,

    -- times
    grain_minutes,
    bucket_at,
    bucket_date,

    -- measures
    value,
    observations,
    is_gap,

    -- what was usual before
    seasons,
    expected,
    spread,
    usual_level,
    level_deviation,
    seasonal_residual,
    smoothed_residual,
    first_difference
from compared
where {{ where_touched(series_day()) }}
