{{
    config(
        meta={
            'touched': {'charge_key': ['int_cost_lines.charge_key', 'agg_cost_coverage.charge_key']},
            'touched_type': 'uuid',
            'emits': ['cost_date']
        },
        indexes=[{'columns': ['cost_date']}],
        pre_hook="{{ touch_charges_of_aliases() }}"
    )
}}

{% set owners = cost_scope() + ['provider', 'model'] %}

with

lines as (
    select * from {{ ref('int_cost_lines') }}
    where {{ where_touched('charge_key') }}
),

coverage as (
    select * from {{ ref('agg_cost_coverage') }}
    where {{ where_touched('charge_key') }}
),

aliases as (
    select * from {{ ref('int_visitor_aliases') }}
),

-- the request that lines name is one: what they say stands on its day
requests as (
    select
        charge_key,
        min(cost_date) as cost_date,
        {% for name in ['visitor_id'] + owners %}
        (array_agg({{ name }} order by cost_date))[1] as {{ name }}{{ ',' if not loop.last }}
        {% endfor %}
    from coverage
    where charge_key in (select lines.charge_key from lines where lines.settles = 'request')
    group by charge_key
),

-- what the lines of one charge say, by day
told as (
    select
        lines.charge_key,
        coalesce(
            requests.cost_date,
            case when lines.settles = 'request' then min(lines.cost_date) over (partition by lines.charge_key)
            else lines.cost_date end
        ) as cost_date,
        lines.settles,
        lines.cost_id,
        lines.anonymous_id,
        requests.visitor_id as request_visitor_id,
        {% for name in owners %}
        coalesce(lines.{{ name }}, requests.{{ name }}) as {{ name }},
        {% endfor %}
        lines.service, lines.category, lines.tags, lines.occurred_at, lines.currency, lines.billed_amount, lines.cost_usd
    from lines
    left join requests on lines.charge_key = requests.charge_key
),

days as (
    select
        charge_key,
        cost_date,
        settles,
        {% for name in owners + ['service', 'category', 'currency', 'anonymous_id'] %}
        -- what they say alike; owners are alike but for a request's
        case when min({{ name }}) = max({{ name }}) and count({{ name }}) = count(*) then min({{ name }}) end
            as {{ name }},
        {% endfor %}
        (array_agg(request_visitor_id))[1] as request_visitor_id,
        case when count(*) = 1 then min(cost_id) end as cost_id,
        case when count(*) = 1 then (array_agg(tags))[1] end as tags,
        min(occurred_at) as occurred_at,
        case when min(currency) = max(currency) then sum(billed_amount) end as billed_amount,
        case when bool_and(cost_usd is not null) then sum(cost_usd) end as told_usd
    from told
    group by charge_key, cost_date, settles
),

covered as (
    select charge_key, sum(covered_usd) as covered_usd
    from coverage
    group by charge_key
),

-- beside what requests and narrower statements told: a bill of a period is right either way, a line of a moment only adds what is missing
differences as (
    select
        days.*,
        case
            when covered.covered_usd is null or covered.covered_usd = 0 then null
            when days.settles = 'point' then greatest(days.told_usd - covered.covered_usd, 0)
            else sum(days.told_usd) over (partition by days.charge_key) - covered.covered_usd
        end as difference_usd
    from days
    left join covered on days.charge_key = covered.charge_key
),

settled as (
    {{ shared_out('differences', 'difference_usd', '1', 'charge_key', 'cost_date', 'settled_usd') }}
),

final as (
    select
        -- ids
        settled.charge_key,
        settled.cost_date,
        md5(settled.charge_key || '|' || (settled.cost_date - date '1970-01-01'))::uuid as cost_line_key,
        settled.cost_id,
        case when settled.difference_usd is null then 'cost_line' else 'reconciliation' end as source,
        coalesce(settled.app_id, 'default') as app_id,
        coalesce(settled.user_id, aliases.user_id) as user_id,
        coalesce(
            settled.request_visitor_id,
            case
                when coalesce(settled.user_id, aliases.user_id, settled.anonymous_id) is not null
                    then {{ visitor_id('coalesce(settled.user_id, aliases.user_id)', 'settled.anonymous_id', "''") }}
            end
        ) as visitor_id,
        {% for name in owners if name not in ['app_id', 'user_id'] %}settled.{{ name }}, {% endfor %}

        -- what
        settled.service,
        settled.category,
        settled.tags,

        -- times
        greatest(settled.occurred_at, settled.cost_date::timestamp at time zone 'UTC') as charged_at,

        -- measures
        case when settled.difference_usd is null then settled.currency else 'USD' end as currency,
        coalesce(settled.settled_usd, settled.billed_amount) as billed_amount,
        coalesce(settled.settled_usd, settled.told_usd) as billed_cost_usd
    from settled
    left join aliases
        on settled.user_id is null
        and settled.anonymous_id = aliases.anonymous_id
        and settled.occurred_at >= coalesce(aliases.valid_from, '-infinity')
        and settled.occurred_at < coalesce(aliases.valid_to, 'infinity')
)

select * from final
-- told already, to the last digit
where not (source = 'reconciliation' and billed_cost_usd = 0)
