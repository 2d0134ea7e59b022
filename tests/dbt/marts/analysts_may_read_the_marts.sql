{{ config(tags=['nightly']) }}

-- dbt makes the schema and replaces tables without asking: both must stay open to readers in production.
select readers.reader
from (
    values ('tidemark_analyst'), ('tidemark_bi')
) as readers (reader)
where
    '{{ target.name }}' = 'prod'
    and not (
        has_schema_privilege(readers.reader, '{{ ref("fct_sessions").schema }}', 'usage')
        and has_table_privilege(readers.reader, '{{ ref("fct_sessions") }}', 'select')
        and has_table_privilege(readers.reader, '{{ ref("metric_observations") }}', 'select')
    )
