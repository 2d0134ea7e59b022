select
    recommendation_key,
    first_seen_at
from {{ source('ops', 'recommendation_sightings') }}
where target = '{{ target_mark() }}'
