{{ config(materialized='view') }}

select
    -- ids
    requests.session_group,
    requests.request_key,
    requests.request_date,
    requests.app_id,
    requests.feature_id,

    -- what it was
    requests.provider,
    requests.model,
    requests.cost_usd,

    -- what if
    models.provider as what_if_provider,
    models.model as what_if_model,
    {{ request_cost('') }} as what_if_cost_usd
from {{ ref('fct_llm_requests') }} as requests
cross join {{ ref('what_if_models') }} as models
{{ join_rates_of('models.provider', 'models.model') }}
