{{
    config(
        meta={
            'touched': {'cost_date': ['fct_llm_requests.request_date']},
            'touched_type': 'date',
            'emits': ['cost_date']
        },
        indexes=[{'columns': ['cost_date', 'app_id']}]
    )
}}

with

requests as (
    select * from {{ ref('fct_llm_requests') }}
    where {{ where_touched('request_date') }}
),

-- no owner is a value of its own, never spread
owned as (
    select
        request_date as cost_date,
        app_id,
        coalesce(user_id, 'unknown') as user_id,
        visitor_id,
        coalesce(workspace_id, 'unknown') as workspace_id,
        coalesce(project_id, 'unknown') as project_id,
        coalesce(team_id, 'unknown') as team_id,
        coalesce(plan, 'unknown') as plan,
        coalesce(feature_id, 'unknown') as feature_id,
        coalesce(provider, 'unknown') as provider,
        coalesce(model, 'unknown') as model,
        input_tokens,
        output_tokens,
        total_tokens,
        cost_usd,
        cost_basis,
        status
    from requests
)

select
    -- ids
    cost_date,
    md5((app_id, user_id, visitor_id, workspace_id, project_id, team_id, plan, feature_id, provider, model)::text)::uuid
        as cost_key,
    app_id,
    user_id,
    visitor_id,
    workspace_id,
    project_id,
    team_id,
    plan,
    feature_id,
    provider,
    model,

    -- measures
    count(*) as requests,
    count(*) filter (where status = 'error') as failed_requests,
    count(*) filter (where cost_basis = 'unpriced') as unpriced_requests,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(total_tokens)::bigint as total_tokens,
    sum(cost_usd) as cost_usd
from owned
group by
    cost_date, app_id, user_id, visitor_id, workspace_id, project_id, team_id, plan, feature_id, provider, model
