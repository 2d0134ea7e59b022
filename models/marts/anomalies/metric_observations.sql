{{ config(materialized='view') }}

with

series as (
    select
        seen.metric,
        seen.app_id,
        metrics.kind,
        metrics.grain_minutes,
        metrics.missing_bucket,
        min(seen.bucket_at) as first_bucket_at
    from {{ ref('agg_metric_values') }} as seen
    inner join {{ ref('metrics') }} as metrics on seen.metric = metrics.metric
    group by seen.metric, seen.app_id, metrics.kind, metrics.grain_minutes, metrics.missing_bucket
),

-- only buckets that are over
buckets as (
    select series.*, bucket_at
    from series
    cross join lateral generate_series(
        series.first_bucket_at,
        {{ bucket(as_of(), 'series.grain_minutes') }} - series.grain_minutes * interval '1 minute',
        series.grain_minutes * interval '1 minute'
    ) as bucket_at
)

select
    buckets.metric,
    buckets.app_id,
    buckets.kind,
    buckets.grain_minutes,
    buckets.bucket_at,
    -- no events is a count of zero; no measurement is not a mean of zero
    coalesce(seen.value, case buckets.missing_bucket when 'zero' then 0 end) as value,
    coalesce(seen.observations, 0) as observations,
    seen.metric is null as is_gap
from buckets
left join {{ ref('agg_metric_values') }} as seen
    on buckets.metric = seen.metric and buckets.app_id = seen.app_id and buckets.bucket_at = seen.bucket_at
