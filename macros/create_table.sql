{#
    A mart built whole is made by `create table as`, which may read in parallel, and given its primary key when it is
    filled: dbt's way, an insert into a table that has its key, does neither. Columns have no constraints of their own.
#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- set contract = config.get('contract') and config.get('contract').enforced -%}
    {%- if contract -%}
        {{ get_assert_columns_equivalent(sql) }}
        {%- set sql = get_select_subquery(sql) -%}
    {%- endif -%}
    create {{ 'temporary' if temporary }} table {{ relation }} as (
        {{ sql }}
    );
    {%- if contract and not temporary %}
    {%- for constraint in adapter.render_raw_model_constraints(raw_constraints=model['constraints']) %}
    alter table {{ relation }} add {{ constraint }};
    {%- endfor %}
    {%- endif %}
{%- endmacro %}


{#
    Before a model built whole: it reads everything, so a nested loop is never the best join, only the worst guess of
    how few rows a condition leaves.
#}
{% macro plan_whole_build() %}
    {% if not is_incremental() %}set local enable_nestloop = off{% endif %}
{% endmacro %}
