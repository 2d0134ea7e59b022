{{ config(materialized='view') }}

{% set day_start = "cost_date::timestamp at time zone 'UTC'" %}

select
    -- ids
    cost_line_key as "x_CostLineKey",
    app_id as "SubAccountId",
    app_id as "SubAccountName",
    coalesce(cost_id, session_key::text) as "ResourceId",

    -- what
    case when source = 'llm_request' then 'Usage' when billed_cost_usd < 0 then 'Credit' else 'Purchase' end
        as "ChargeCategory",
    case when source = 'reconciliation' then 'Correction' end as "ChargeClass",
    concat_ws(', ', source, category, service, model) as "ChargeDescription",
    provider as "ProviderName",
    provider as "PublisherName",
    provider as "InvoiceIssuerName",
    case when source = 'llm_request' or model is not null then 'AI and Machine Learning' else 'Other' end
        as "ServiceCategory",
    coalesce(service, category, 'unattributed') as "ServiceName",
    model as "SkuId",
    coalesce(case when jsonb_typeof(tags) = 'object' then tags end, '{}')
    || jsonb_strip_nulls(
        jsonb_build_object(
            'user', user_id, 'workspace', workspace_id, 'project', project_id, 'team', team_id,
            'feature', feature_id, 'plan', plan
        )
    ) as "Tags",

    -- times
    date_trunc('month', cost_date::timestamp) at time zone 'UTC' as "BillingPeriodStart",
    (date_trunc('month', cost_date::timestamp) + interval '1 month') at time zone 'UTC' as "BillingPeriodEnd",
    {{ day_start }} as "ChargePeriodStart",
    (cost_date + 1)::timestamp at time zone 'UTC' as "ChargePeriodEnd",

    -- measures
    'USD' as "BillingCurrency",
    currency as "PricingCurrency",
    billed_cost_usd as "BilledCost",
    effective_cost_usd as "EffectiveCost",
    list_cost_usd as "ListCost",
    billed_cost_usd as "ContractedCost"
from {{ ref('fct_cost_lines') }}
