{{
    config(
        meta={
            'touched': {'series_day': ['metric_observations.series_day']},
            'depends_on_now': true
        },
        indexes=[{'columns': ['series_key', 'bucket_date']}]
    )
}}

select
    -- ids
    series_day,
    series_key,
    bucket_date,

    -- counts
    count(value) as known_buckets,
    sum(value) as total,
    sum(value * value) as total_of_squares,

    -- the largest deviations
    max(abs(level_deviation)) as peak_level_deviation,
    max(abs(seasonal_residual)) as peak_seasonal_residual,
    max(abs(smoothed_residual)) as peak_smoothed_residual,
    max(abs(first_difference)) as peak_first_difference
from {{ ref('metric_observations') }}
where {{ where_touched('series_day') }}
group by series_day, series_key, bucket_date
