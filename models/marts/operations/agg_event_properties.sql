{{
    config(
        meta={'touched': {'event_date': ['whoever:fct_events.event_date']}, 'touched_type': 'date'}
    )
}}

with

-- an index holds no longer name
properties as (
    select
        events.event_date,
        events.event_name,
        left(pair.key, 200) as property_name,
        jsonb_typeof(pair.value) as value_type,
        case when jsonb_typeof(pair.value) in ('string', 'object', 'array') then pair.value #>> '{}' end as value
    from {{ ref('fct_events') }} as events
    cross join lateral jsonb_each(events.properties) as pair
    where
        pair.value <> 'null'
        and {{ is_product_event('events.event_name') }}
        and {{ where_touched('events.event_date') }}
),

value_rules as (
    select * from {{ ref('personal_data_rules') }}
    where part = 'value'
),

-- most values fit no rule: all rules are asked at once first, and each by itself of what is left
suspects as materialized (
    select * from properties
    where value ~* (select string_agg(every_rule.pattern, '|') from value_rules as every_rule)
),

personal as (
    select
        suspects.event_date,
        suspects.event_name,
        suspects.property_name,
        array_agg(distinct value_rules.rule order by value_rules.rule) as personal_rules
    from suspects
    inner join value_rules on suspects.value ~* value_rules.pattern
    group by suspects.event_date, suspects.event_name, suspects.property_name
),

counted as (
    select
        event_date,
        event_name,
        property_name,
        {% for value_type in ['string', 'number', 'boolean', 'object', 'array'] %}
        count(*) filter (where value_type = '{{ value_type }}') as {{ value_type }}_values,
        {% endfor %}
        count(*) as events
    from properties
    group by event_date, event_name, property_name
)

select
    -- ids
    counted.event_date,
    counted.event_name,
    counted.property_name,

    -- measures
    counted.events,
    counted.string_values,
    counted.number_values,
    counted.boolean_values,
    counted.object_values,
    counted.array_values,

    -- personal data
    coalesce(personal.personal_rules, '{}') as personal_rules
from counted
left join personal using (event_date, event_name, property_name)
