{#
    Columns of the model that a jsonb object of its own former row holds, by the contract's types, in the contract's
    order; those `instead` names stand beside it as columns.
#}
{% macro recorded_columns(record, instead) -%}
    {%- for name, column in model.columns.items() %}
    {% if name in instead -%}
    {{ name }}
    {%- else -%}
    {{ recorded_value(record, name, column.data_type) }} as {{ name }}
    {%- endif %}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


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
