{{
    config(
        meta={
            'touched': {'cost_date': ['fct_llm_requests.request_date', 'int_cost_lines.cost_date']},
            'touched_type': 'date',
            'emits': ['cost_date']
        },
        indexes=[{'columns': ['charge_key']}],
        pre_hook="{{ touch_named_requests() }}"
    )
}}

with

lines as (
    select *, lower(provider) as lower_provider
    from {{ ref('int_cost_lines') }}
    where settles is not null and {{ where_touched('cost_date') }}
),

-- what invoices and the like say of a model and a day; one of whose lines lacks a rate settles nothing
statements as (
    select
        charge_key, cost_date, settles, bare_model, lower_provider as provider,
        {{ columns_of('lines') }},
        period_days, named_owners,
        sum(cost_usd) as told_usd
    from lines
    where settles <> 'request'
    group by
        charge_key, cost_date, settles, bare_model, lower_provider, {{ columns_of('lines') }},
        period_days, named_owners
    having bool_and(cost_usd is not null)
),

models as (
    select model, {{ bare_model('model') }} as bare_model
    from {{ ref('fct_llm_requests') }}
    where {{ where_touched('request_date') }}
    group by model
),

requests as (
    select requests.*, models.bare_model
    from {{ ref('fct_llm_requests') }} as requests
    left join models on requests.model = models.model
    where
        {{ where_touched('requests.request_date') }}
        -- nothing is read where there is no cost line at all
        and exists (select from {{ ref('int_cost_lines') }})
        and (
            (requests.request_date, requests.model) in (
                select statements.cost_date, spoken_of.model
                from statements
                inner join models as spoken_of on statements.bare_model = spoken_of.bare_model
            )
            or exists (
                select from {{ ref('int_cost_lines') }} as named
                where requests.request_id = named.request_id
            )
        )
),

-- requests that cost lines name, with what those say
named as (
    select request_id, charge_key, sum(cost_usd) as told_usd
    from {{ ref('int_cost_lines') }}
    where request_id in (select requests.request_id from requests)
    group by request_id, charge_key
    having bool_and(cost_usd is not null)
),

items as (
    select row_number() over () as item, told.*
    from (
        select
            requests.request_date as cost_date, requests.bare_model, lower(requests.provider) as provider,
            {{ columns_of('requests') }},
            sum(coalesce(named.told_usd, requests.cost_usd, 0)) as worth_usd
        from requests
        left join named on requests.request_id = named.request_id
        group by
            requests.request_date, requests.bare_model, lower(requests.provider), {{ columns_of('requests') }}
        union all
        -- a line whose request nobody told
        select cost_date, bare_model, lower_provider, {{ columns_of('lines') }}, cost_usd
        from lines
        where
            settles = 'request' and cost_usd is not null
            and not exists (
                select from {{ ref('fct_llm_requests') }} as requests
                where lines.request_id = requests.request_id
            )
    ) as told
    where bare_model in (select statements.bare_model from statements)
),

-- each in the narrowest statement that speaks of it, and in no other
held_items as (
    select distinct on (items.item)
        statements.charge_key, statements.cost_date, items.worth_usd
    from items
    inner join statements on items.cost_date = statements.cost_date and {{ is_within('items', 'statements') }}
    order by
        items.item, statements.settles = 'period', statements.period_days, statements.named_owners desc,
        statements.charge_key
),

directly as (
    select charge_key, cost_date, sum(worth_usd) as covered_usd
    from held_items
    group by charge_key, cost_date
)

select
    -- ids
    statements.cost_date,
    statements.charge_key,
    statements.settles,
    null::uuid as visitor_id,
    {{ columns_of('statements') }},
    statements.provider,
    null as model,
    statements.bare_model,
    statements.named_owners,
    statements.period_days,

    -- measures
    statements.told_usd,
    directly.covered_usd
from statements
left join directly using (charge_key, cost_date)

union all

select
    requests.request_date,
    named.charge_key,
    'request' as settles,
    {% for name in ['visitor_id'] + cost_scope() + ['provider', 'model', 'bare_model'] %}
    (array_agg(requests.{{ name }} order by requests.session_group, requests.request_key))[1] as {{ name }},
    {% endfor %}
    null as named_owners,
    null as period_days,
    max(named.told_usd) as told_usd,
    sum(coalesce(requests.cost_usd, 0)) as covered_usd
from requests
inner join named on requests.request_id = named.request_id
group by requests.request_date, named.charge_key
