{{ config(tags=['nightly']) }}

-- One row per metric, app and bucket, and every bucket between the first and the last.
select metric, app_id
from {{ ref('metric_observations') }}
group by metric, app_id, grain_minutes
having
    count(*) <> count(distinct bucket_at)
    or count(*) <> 1 + extract(epoch from max(bucket_at) - min(bucket_at)) / 60 / grain_minutes
