{{
    config(
        meta={
            'touched': {'request_date': ['whoever:fct_llm_requests.request_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['request_date']}]
    )
}}

with

requests as (
    select * from {{ ref('fct_llm_requests') }}
    where {{ where_touched('request_date') }} and status = 'success' and latency_ms is not null
)

select
    -- ids
    request_date,
    app_id,
    coalesce(feature_id, 'unattributed') as feature_id,
    coalesce(price_provider, provider, 'unattributed') as provider,
    coalesce(price_model, model, 'unattributed') as model,
    {{ latency_bucket('latency_ms') }} as latency_bucket,

    -- measures
    count(*) as requests
from requests
group by 1, 2, 3, 4, 5, 6
