{#
    A mart built whole is made by `create table as`, which may read in parallel, and given its primary key when it is
    filled: dbt's way, an insert into a table that has its key, does neither.
#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- if temporary -%}
        {#- a mart's are held against those its contract made: `on_schema_change: fail`. The connection is kept -#}
        create temporary table {{ relation }} on commit drop as (
            {{ sql }}
        );
    {%- elif not config.get('contract').enforced -%}
        {{ dbt.postgres__create_table_as(temporary, relation, sql) }}
    {%- elif model.columns.values() | selectattr('constraints') | list -%}
        {{ exceptions.raise_compiler_error(model.name ~ ": put constraints on the model, not on its columns") }}
    {%- else -%}
        {{ get_assert_columns_equivalent(sql) }}
        create table {{ relation }} as (
            {{ get_select_subquery(sql) }}
        );
        {%- for constraint in adapter.render_raw_model_constraints(raw_constraints=model['constraints']) %}
        alter table {{ relation }} add {{ constraint }};
        {%- endfor %}
    {%- endif -%}
{%- endmacro %}


{#
    Before a model built whole: it reads everything, so a nested loop is never the best join, only the worst guess of
    how few rows a condition leaves; nor is a merge join, which sorts wide rows where a hash table of narrow ones does.
#}
{% macro plan_whole_build(always=false) %}
    {% if always or (model.config.materialized != 'view' and not is_incremental()) -%}
        set local enable_nestloop = off; set local enable_mergejoin = off
    {%- endif %}
{% endmacro %}


{#
    Before every model: one that a long query keeps locked fails in time, and the next refresh makes it. Waiting on, it
    would hold up every reader that comes after it.
#}
{% macro wait_no_longer() %}
    {% if execute %}set local lock_timeout = '{{ env_var('TIDEMARK_LOCK_TIMEOUT', '30s') }}'{% endif %}
{% endmacro %}


{# Before a model built whole that counts many rows into few groups, of which the planner expects many: by hashing, not sorting. #}
{% macro count_by_hash() %}
    {% if not is_incremental() %}set local enable_sort = off{% endif %}
{% endmacro %}
