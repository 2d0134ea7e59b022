{# Text as numeric; null where it is not a plain number. #}
{% macro to_number(expression) -%}
    (case when {{ expression }} ~ '^-?[0-9]{1,15}(\.[0-9]+)?$' then ({{ expression }})::numeric end)
{%- endmacro %}
