{{
    config(
        meta={
            'touched': {
                'cost_date': [
                    'agg_cost_charges.cost_date', 'fct_llm_requests.request_date', 'fct_sessions.session_date'
                ]
            },
            'touched_type': 'date'
        }
    )
}}

{% set scopes = ['app', 'user', 'workspace', 'project', 'team', 'feature'] %}

with

charges as (
    select * from {{ ref('agg_cost_charges') }}
    where {{ where_touched('cost_date') }}
),

rules as (
    select * from {{ ref('cost_allocation_rules') }}
),

-- the rule that says most of a line is its rule
ruled as (
    select
        charges.*,
        rule.driver,
        rule.scope,
        case rule.scope
            when 'app' then nullif(charges.app_id, 'default')
            {% for name in scopes[1:] %}
            when '{{ name }}' then charges.{{ name }}_id
            {% endfor %}
        end as named_value
    from charges
    left join lateral (
        select rules.driver, rules.scope
        from rules
        where
            rules.category in ('*', charges.category)
            and rules.service in ('*', charges.service)
        order by rules.service = '*', rules.category = '*', rules.scope
        limit 1
    ) as rule on true
),

-- who did how much on the days of those lines
activity as (
    {% for name in scopes %}
    {{ 'union all' if not loop.first }}
    select
        cost_date,
        '{{ name }}' as scope,
        {{ name }}_id as scope_value,
        sum(requests) as requests,
        coalesce(sum(total_tokens), 0) as tokens,
        0 as sessions
    from {{ ref('agg_cost_daily') }}
    where
        {{ where_touched('cost_date') }}
        and requests > 0
        and '{{ name }}' in (select rules.scope from rules)
        and cost_date in (select charges.cost_date from charges)
    group by cost_date, {{ name }}_id
    {% if name != 'feature' %}
    union all
    select
        session_date as cost_date,
        '{{ name }}' as scope,
        coalesce({{ name }}_id, 'unattributed') as scope_value,
        0 as requests,
        0 as tokens,
        count(*) as sessions
    from {{ ref('fct_sessions') }}
    where
        {{ where_touched('session_date') }}
        and '{{ name }}' in (select rules.scope from rules)
        and session_date in (select charges.cost_date from charges)
    group by session_date, {{ name }}_id
    {% endif %}
    {% endfor %}
),

drivers as (
    select
        cost_date,
        scope,
        case when scope_value = 'unattributed' then 'unallocated' else scope_value end as scope_value,
        sum(requests) as requests,
        sum(tokens) as tokens,
        sum(sessions) as sessions
    from activity
    group by cost_date, scope, scope_value
),

weighed as (
    select
        ruled.*,
        drivers.scope_value,
        case ruled.driver
            when 'tokens' then drivers.tokens
            when 'requests' then drivers.requests
            when 'sessions' then drivers.sessions
            when 'even' then (drivers.scope_value <> 'unallocated')::integer
        end as weight
    from ruled
    inner join drivers on ruled.cost_date = drivers.cost_date and ruled.scope = drivers.scope
    where ruled.named_value is null and ruled.billed_cost_usd is not null
),

driven as (
    select * from weighed
    where weight > 0
),

shared as (
    {{ shared_out('driven', 'billed_cost_usd', 'weight', 'cost_line_key', 'scope_value', 'allocated_cost_usd') }}
),

final as (
    select
        cost_date, cost_line_key, scope, scope_value, driver, category, service, weight::numeric as weight,
        allocated_cost_usd
    from shared
    union all
    -- a line that names its owner is the owner's; what nobody drove, and what no rule speaks of, is nobody's
    select
        cost_date,
        cost_line_key,
        coalesce(scope, 'none') as scope,
        coalesce(named_value, 'unallocated') as scope_value,
        case when named_value is null then 'none' else 'direct' end as driver,
        category, service,
        null as weight,
        billed_cost_usd as allocated_cost_usd
    from ruled
    where
        not exists (
            select from driven
            where driven.cost_line_key = ruled.cost_line_key
        )
)

select * from final
