{% materialization table, adapter='postgres' %}
    {{ return(build_whole(load_cached_relation(this), 'table')) }}
{% endmaterialization %}


{% materialization view, adapter='postgres' %}
    {{ return(build_whole(load_cached_relation(this), 'view')) }}
{% endmaterialization %}


{#
    A table or view in the place of what has its name now, if anything does: one transaction, and fewer statements than
    dbt's own way, which tells in a catalogue of many small models. A table is filled beside what is there, which is
    read meanwhile.
#}
{% macro build_whole(kept, type) %}
    {% set target = this.incorporate(type=type) %}
    {% set is_beside = type == 'table' and kept is not none %}
    {% set built = make_intermediate_relation(target) if is_beside else target %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if type == 'table' %}
        {% call statement('main') %}{{ get_create_table_as_sql(False, built, sql) }}{% endcall %}
        {% do create_indexes(built) %}
        {% if is_beside %}
            {% call statement() %}
                {{ get_drop_sql(kept) }};
                {{ get_rename_sql(built, adapter.quote(target.identifier)) }}
            {% endcall %}
        {% endif %}
    {% else %}
        {% call statement('main') %}
            {% if kept is not none %}{{ get_drop_sql(kept) }};{% endif %}
            {{ get_create_view_as_sql(target, sql) }}
        {% endcall %}
    {% endif %}
    {% do adapter.cache_dropped(kept) if kept is not none %}

    {% do apply_grants(target, config.get('grants'), should_revoke(kept, full_refresh_mode=True)) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{% endmacro %}


{#
    A mart built whole is made by `create table as`, which may read in parallel, and given its primary key when it is
    filled: dbt's way, an insert into a table that has its key, does neither.
#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- if not config.get('contract').enforced -%}
        {{ dbt.postgres__create_table_as(temporary, relation, sql) }}
    {%- elif temporary -%}
        {#- its columns are held against the mart's, which the contract made: `on_schema_change: fail` -#}
        create temporary table {{ relation }} as (
            {{ sql }}
        );
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
