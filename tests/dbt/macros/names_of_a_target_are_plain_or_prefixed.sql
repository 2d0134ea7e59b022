{{ config(tags=['nightly']) }}

-- Production builds into the plain schemas under the mark `prod`; any other target prefixes both.
{% set in_production = target.name == 'prod' %}

with

names (name, got, expected) as (
    values
    ('mark', '{{ target_mark() }}', '{{ "prod" if in_production else target.schema }}'),
    (
        'schema',
        '{{ ref("fct_sessions").schema }}',
        '{{ "marts" if in_production else target.schema ~ "_marts" }}'
    )
)

select * from names
where got <> expected
