{{ config(tags=['nightly']) }}

-- Production builds into the plain schemas under the mark `prod`; any other target prefixes both.
select names.*
from (
    values
    ('mark', '{{ target_mark() }}', '{{ "prod" if target.name == "prod" else target.schema }}'),
    ('schema', '{{ ref("fct_sessions").schema }}', '{{ "marts" if target.name == "prod" else target.schema ~ "_marts" }}')
) as names (name, got, expected)
where names.got <> names.expected
