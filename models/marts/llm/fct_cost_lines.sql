{{ config(materialized='view') }}

select
    -- ids
    request_key as cost_line_key,
    null as cost_id,
    session_key,
    app_id,
    user_id,
    visitor_id,
    workspace_id,
    project_id,
    team_id,
    plan,
    feature_id,

    -- what
    'llm_request' as source,
    'llm' as category,
    provider,
    null as service,
    model,
    null::jsonb as tags,

    -- times
    requested_at as charged_at,
    request_date as cost_date,

    -- measures
    'USD' as currency,
    cost_usd as billed_amount,
    cost_usd as billed_cost_usd,
    cost_usd as effective_cost_usd,
    coalesce(list_cost_usd, cost_usd) as list_cost_usd
from {{ ref('fct_llm_requests') }}

union all

select
    cost_line_key,
    cost_id,
    null as session_key,
    app_id,
    user_id,
    visitor_id,
    workspace_id,
    project_id,
    team_id,
    plan,
    feature_id,
    source,
    category,
    provider,
    service,
    model,
    tags,
    charged_at,
    cost_date,
    currency,
    billed_amount,
    billed_cost_usd,
    billed_cost_usd as effective_cost_usd,
    billed_cost_usd as list_cost_usd
from {{ ref('agg_cost_charges') }}
