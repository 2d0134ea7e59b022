{{
    config(
        meta={
            'touched': {'cost_date': ['agg_cost_daily.cost_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['cost_date']}]
    )
}}

with

costs as (
    select * from {{ ref('agg_cost_daily') }}
    where {{ where_touched('cost_date') }}
)

select
    -- ids
    owner.scope,
    owner.scope_value,
    costs.cost_date,

    -- measures
    sum(costs.unpriced_requests)::bigint as unpriced_requests,
    sum(costs.cost_usd) as cost_usd
from costs
cross join
    lateral (
        values
        ('total', 'all'),
        ('app', costs.app_id),
        ('team', costs.team_id),
        ('project', costs.project_id),
        ('workspace', costs.workspace_id),
        ('feature', costs.feature_id),
        ('user', costs.user_id),
        ('model', costs.model)
    ) as owner (scope, scope_value)
group by owner.scope, owner.scope_value, costs.cost_date
