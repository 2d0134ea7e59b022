with

costs as (
    select
        *,
        {{ is_not_opted_out('occurred_at') }} as names_its_person
    from {{ source('raw', 'costs') }}
    where not withheld and {{ is_published() }}
)

select
    -- ids
    case when names_its_person then session_group else 'e:' || cost_id end as session_group,
    content_hash,
    cost_id,
    request_id,
    app_id,
    -- money counts whoever opted out; for whom it was spent is left out
    case when names_its_person then session_id end as session_id,
    case when names_its_person then anonymous_id end as anonymous_id,
    case when names_its_person then user_id end as user_id,
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
