{{ config(materialized='view') }}

with

events as (
    select event_name, sum(events)::bigint as events, sum(oversized_events)::bigint as oversized_events
    from {{ ref('agg_event_daily') }}
    group by event_name
),

plan as (
    select * from {{ ref('tracking_plan') }}
),

names as (
    select
        events.*,
        plan.event_name is not null as is_standard,
        {{ snake_case('events.event_name') }} as snake_name
    from events
    left join plan on events.event_name = plan.event_name
),

properties as (
    select
        event_name,
        property_name,
        sum(events)::bigint as events,
        (sum(string_values) > 0)::integer + (sum(number_values) > 0)::integer + (sum(boolean_values) > 0)::integer
        + (sum(object_values) > 0)::integer + (sum(array_values) > 0)::integer as value_types
    from {{ ref('agg_event_properties') }}
    group by event_name, property_name
),

personal as (
    select event_name, property_name, rule
    from {{ ref('agg_event_properties') }}
    cross join lateral unnest(personal_rules) as found (rule)
    union
    select properties.event_name, properties.property_name, rules.rule
    from properties
    inner join {{ ref('personal_data_rules') }} as rules
        on rules.part = 'name' and {{ snake_case('properties.property_name') }} ~* rules.pattern
),

issues as (
    select event_name, 'unknown_name' as issue, '' as property_name, 'not in the tracking plan' as detail, events
    from names
    where not is_standard
    union all
    select event_name, 'not_snake_case' as issue, '' as property_name, 'snake_case is ' || snake_name as detail, events
    from names
    where not {{ is_snake_case('event_name') }}
    union all
    select
        names.event_name,
        'not_past_tense' as issue,
        '' as property_name,
        'the standard event is ' || plan.event_name as detail,
        names.events
    from names
    inner join plan on names.snake_name = plan.present_name
    where not names.is_standard
    union all
    select
        event_name, 'oversized_properties' as issue, '' as property_name, 'properties over 1 KB' as detail,
        oversized_events as events
    from names
    where oversized_events > 0
    union all
    select
        event_name, 'mixed_types' as issue, property_name, value_types || ' types of values' as detail, events
    from properties
    where value_types > 1
    union all
    select
        personal.event_name,
        'personal_data' as issue,
        personal.property_name,
        'looks like ' || string_agg(personal.rule, ', ' order by personal.rule) as detail,
        max(properties.events) as events
    from personal
    inner join properties using (event_name, property_name)
    group by personal.event_name, personal.property_name
)

select
    -- ids
    event_name,
    issue,
    property_name,

    -- what
    detail,

    -- measures
    events
from issues
