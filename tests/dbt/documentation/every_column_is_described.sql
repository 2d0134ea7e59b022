{{ config(tags=['nightly']) }}

-- In the database itself, where BI tools and psql show it.
select relations.relname as relation, attributes.attname as column_name
from pg_class as relations
inner join pg_namespace as schemas on relations.relnamespace = schemas.oid
left join pg_attribute as attributes
    on relations.oid = attributes.attrelid and attributes.attnum > 0 and not attributes.attisdropped
where
    relations.relkind in ('r', 'v')
    and schemas.nspname in (
        '{{ ref("stg_events").schema }}', '{{ ref("int_sessions").schema }}', '{{ ref("fct_sessions").schema }}'
    )
    -- what dbt leaves behind when it is killed in the middle
    and relations.relname not like '%\_\_dbt\_%'
    and (
        col_description(relations.oid, attributes.attnum) is null
        or obj_description(relations.oid, 'pg_class') is null
    )
