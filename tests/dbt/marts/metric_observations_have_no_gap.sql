{{ config(tags=['nightly']) }}

-- Every bucket is there, but while a series is not watched: that begins when it measured nothing for some days.
with

followed as (
    select
        series_key,
        bucket_at,
        grain_minutes,
        lead(bucket_at) over (partition by series_key order by bucket_at) as next_at,
        max(bucket_at) filter (where not is_gap) over (partition by series_key order by bucket_at) as measured_at
    from {{ ref('metric_observations') }}
)

select series_key, bucket_at, next_at
from followed
where
    next_at <> bucket_at + grain_minutes * interval '1 minute'
    and {{ utc_date('bucket_at') }} - {{ utc_date('measured_at') }} <> {{ anomaly_setting('watched_days') }}
