{{ config(tags=['nightly']) }}

-- Every bucket between the first and the last is there.
select metric, app_id
from {{ ref('metric_observations') }}
group by metric, app_id, grain_minutes
having count(*) <> 1 + extract(epoch from max(bucket_at) - min(bucket_at)) / 60 / grain_minutes
