{#
    Columns of a mart that a jsonb object of its own former row holds, by the contract's types, in the contract's order;
    those `instead` names stand beside it as columns.
#}
{% macro recorded_columns(mart, record, instead) -%}
    {%- for name, column in contracted_columns(mart).items() %}
    {% if name in instead -%}
    {{ name }}
    {%- else -%}
    {{ recorded_value(record, name, column.data_type) }} as {{ name }}
    {%- endif %}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{# Name → column of a mart, in the contract's order; empty while dbt parses and in unit tests, which know no graph. #}
{% macro contracted_columns(mart) %}
    {% set knows_graph = execute and model.resource_type != 'unit_test' %}
    {% do return(graph.nodes['model.tidemark.' ~ mart].columns if knows_graph else {}) %}
{% endmacro %}


{# One value of a jsonb object as the type it had when to_jsonb wrote it. #}
{% macro recorded_value(record, name, data_type) -%}
    {%- if data_type.endswith('[]') -%}
    array(
        select item.value::{{ data_type[:-2] }}
        from jsonb_array_elements_text({{ record }} -> '{{ name }}') with ordinality as item (value, place)
        order by item.place
    )
    {%- elif data_type == 'jsonb' -%}
    nullif({{ record }} -> '{{ name }}', 'null')
    {%- else -%}
    ({{ record }} ->> '{{ name }}')::{{ data_type }}
    {%- endif -%}
{%- endmacro %}
