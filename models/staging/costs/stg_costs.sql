with

costs as (
    select * from {{ source('raw', 'costs') }}
    where not withheld and load_id in {{ published_loads() }}
)

select
    -- ids
    session_group,
    content_hash,
    cost_id,
    request_id,
    app_id,
    session_id,
    anonymous_id,
    user_id,
    workspace_id,
    project_id,
    team_id,
    org_id,
    plan,
    feature_id,

    -- what
    category,
    provider,
    service,
    model,

    -- times
    occurred_at,
    period_start_at,
    period_end_at,
    received_at,

    -- measures
    amount,
    currency,
    {{ scrubbed_json('properties') }} as properties
from costs
where {{ is_credible('occurred_at') }}
