{{
    config(
        meta={
            'touched': {'cost_date': ['agg_cost_statements.cost_date']},
            'touched_type': 'date',
            'emits': ['charge_key']
        },
        indexes=[{'columns': ['charge_key']}]
    )
}}

{% set owners = ['visitor_id'] + cost_scope() + ['provider', 'model'] %}

with

statements as (
    select * from {{ ref('agg_cost_statements') }}
    where {{ where_touched('cost_date') }}
),

-- a statement, with what it settles, in the next wider one
held as (
    select distinct on (narrow.charge_key, narrow.cost_date)
        wide.charge_key,
        wide.cost_date,
        case
            when narrow.settles = 'point' then greatest(narrow.told_usd, narrow.covered_usd)
            else narrow.told_usd
        end as covered_usd
    from statements as narrow
    inner join statements as wide
        on narrow.cost_date = wide.cost_date
        and wide.settles = 'period'
        and {{ is_within('narrow', 'wide') }}
        and (
            narrow.settles = 'point'
            or (narrow.period_days, -narrow.named_owners) < (wide.period_days, -wide.named_owners)
        )
    where narrow.settles <> 'request'
    order by narrow.charge_key, narrow.cost_date, wide.period_days, wide.named_owners desc, wide.charge_key
),

by_statement as (
    select charge_key, cost_date, sum(covered_usd) as covered_usd
    from held
    group by charge_key, cost_date
)

select
    cost_date,
    charge_key,
    {% for name in owners %}
    case when statements.settles = 'request' then statements.{{ name }} end as {{ name }},
    {% endfor %}
    coalesce(statements.covered_usd, 0) + coalesce(by_statement.covered_usd, 0) as covered_usd
from statements
left join by_statement using (charge_key, cost_date)
