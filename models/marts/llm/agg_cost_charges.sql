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
    select distinct on (charge_key)
        charge_key,
        cost_date,
        {{ columns_of('coverage', ['visitor_id'] + owners) }}
    from coverage
    where
        charge_key in (
            select lines.charge_key from lines
            where lines.settles = 'request'
        )
    order by charge_key, cost_date
),

-- what the lines of one charge say, by day
told as (
    select
        lines.*,
        requests.visitor_id as request_visitor_id,
        {% for name in owners %}
        coalesce(lines.{{ name }}, requests.{{ name }}) as charged_{{ name }},
        {% endfor %}
        case
            when lines.settles = 'request'
                then coalesce(requests.cost_date, min(lines.cost_date) over (partition by lines.charge_key))
            else lines.cost_date
        end as charged_date
    from lines
    left join requests on lines.charge_key = requests.charge_key
),

days as (
    select
        charge_key,
        charged_date as cost_date,
        settles,
        (array_agg(request_visitor_id))[1] as request_visitor_id,
        -- what they all say alike
        {% for name in owners + ['service', 'category', 'currency', 'anonymous_id'] %}
        {% set told = 'charged_' ~ name if name in owners else name %}
        case
            when min({{ told }}) = max({{ told }}) and count({{ told }}) = count(*) then min({{ told }})
        end as {{ name }},
        {% endfor %}
        case when count(*) = 1 then min(cost_id) end as cost_id,
        case when count(*) = 1 then (array_agg(tags))[1] end as tags,
        min(occurred_at) as occurred_at,
        case when min(currency) = max(currency) then sum(billed_amount) end as billed_amount,
        case when bool_and(cost_usd is not null) then sum(cost_usd) end as told_usd
    from told
    group by charge_key, charged_date, settles
),

covered as (
    select charge_key, sum(covered_usd) as covered_usd
    from coverage
    group by charge_key
),

-- beside what is told already: a bill of a period is right either way, a line of a moment only adds what is missing
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
        {{ columns_of('settled', owners[2:]) }},

        -- what
        {{ columns_of('settled', ['service', 'category', 'tags']) }},

        -- times
        case
            when {{ utc_date('settled.occurred_at') }} = settled.cost_date then settled.occurred_at
            else settled.cost_date::timestamp at time zone 'UTC'
        end as charged_at,

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
