{#
    Columns that a jsonb object of a former row holds: `columns` is name to type, in the order wanted; those `instead`
    names stand beside the object as columns.
#}
{% macro recorded_columns(columns, record, instead=[]) -%}
    {%- for name, data_type in columns.items() %}
    {{ name if name in instead else recorded_value(record, name, data_type) ~ ' as ' ~ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{# Name to type of a mart's columns, in the contract's order; empty while dbt parses and in unit tests, which know no graph. #}
{% macro contracted_columns(mart) %}
    {% set columns = {} %}
    {% if execute and model.resource_type != 'unit_test' %}
        {% for name, column in graph.nodes['model.tidemark.' ~ mart].columns.items() %}
            {% do columns.update({name: column.data_type}) %}
        {% endfor %}
    {% endif %}
    {% do return(columns) %}
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
