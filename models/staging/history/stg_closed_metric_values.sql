select
    -- ids
    metric,
    app_id,
    scope,
    scope_value,

    -- times
    bucket_at,
    bucket_date,

    -- measures
    metric_value
from {{ source('history', 'closed_metric_values') }}
