{{ config(tags=['nightly']) }}

-- To the cent: every scope of a day holds what all of the day cost, and all that is unpriced.
with

days as (
    select
        cost_date,
        sum(cost_usd) as cost_usd,
        sum(unpriced_requests) as unpriced_requests
    from {{ ref('agg_cost_daily') }}
    group by cost_date
),

scopes as (
    select
        cost_date,
        scope,
        sum(cost_usd) as cost_usd,
        sum(unpriced_requests) as unpriced_requests
    from {{ ref('agg_scope_cost_daily') }}
    group by cost_date, scope
),

every_scope as (
    select
        days.*,
        scope
    from days
    cross join unnest(array['total', 'app', 'team', 'project', 'workspace', 'feature', 'user', 'model']) as scope
)

select
    cost_date,
    scope
from every_scope
full outer join scopes using (cost_date, scope)
where
    every_scope.cost_usd is distinct from scopes.cost_usd
    or every_scope.unpriced_requests is distinct from scopes.unpriced_requests
