select
    name_key,
    provider,
    model,
    service_tier
from {{ source('ops', 'llm_names') }}
