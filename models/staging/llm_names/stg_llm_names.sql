with

told as (
    select * from {{ source('ops', 'llm_names') }}
),

-- what requests are compared with, in each variant that a request has named
compared as (
    select provider, model from {{ ref('what_if_models') }}
    union all
    select provider, model from {{ ref('baseline_models') }}
),

variants as (
    select service_tier from told
    union
    select '' as service_tier
)

select
    name_key,
    provider,
    model,
    service_tier
from told
union
select
    ops.llm_name_key(compared.provider, compared.model, variants.service_tier) as name_key,
    coalesce(compared.provider, '') as provider,
    compared.model,
    variants.service_tier
from compared
cross join variants
