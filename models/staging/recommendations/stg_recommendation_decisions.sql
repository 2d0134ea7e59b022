select
    -- ids
    recommendation_key,
    rule,
    scope,
    app_id,
    workspace_id,
    feature_id,
    provider,
    model,
    suggestion,

    -- what it said
    title,
    evidence,
    estimated_saving_usd,
    severity,
    priority,

    -- what became of it
    state,
    decided_at,
    decided_by,
    note
from {{ source('ops', 'recommendation_decisions') }}
