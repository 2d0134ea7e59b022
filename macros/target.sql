{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set schema_name = custom_schema_name or target.schema -%}
    {{ schema_name if target.name == 'prod' else target.schema ~ '_' ~ schema_name }}
{%- endmacro %}


{% macro target_mark() -%}
    {{ 'prod' if target.name == 'prod' else target.schema }}
{%- endmacro %}


{% macro as_of() -%}
    (select ops.as_of('{{ target_mark() }}'))
{%- endmacro %}


{% macro published_loads(once=true) -%}
    {%- set bound = "ops.to_seq('" ~ target_mark() ~ "')" -%}
    (
        select loads.load_id
        from {{ source('raw', 'loads') }} as loads
        where loads.published_seq <= {{ '(select ' ~ bound ~ ')' if once else bound }}
    )
{%- endmacro %}


{#
    Whether this build reads a row's load. Loads before the first that it does not read, which is among the newest, are
    known at a glance: a join would carry every column of a wide row along. For the few after it the list is asked; with
    a subquery in that, older servers would not read in parallel.
#}
{% macro is_published() -%}
    (
        (
            load_id >= (
                select min(loads.load_id)
                from {{ source('raw', 'loads') }} as loads
                where (loads.published_seq <= (select ops.to_seq('{{ target_mark() }}'))) is not true
            )
        ) is not true
        or load_id in {{ published_loads(once=false) }}
    )
{%- endmacro %}


{% macro settle_bounds() %}
    {% if execute and not env_var('TIDEMARK_REFRESH_ID', '') %}
        select ops.settle_bounds('{{ target_mark() }}', builds => {{ flags.WHICH != 'test' }})
    {% endif %}
{% endmacro %}


{% macro grant_schema_usage() %}
    {% if execute and target.name == 'prod' and 'marts' in schemas %}
        grant usage on schema marts, staging to tidemark_analyst, tidemark_bi, tidemark_workspace_reader
    {% endif %}
{% endmacro %}
