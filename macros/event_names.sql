{# A name in snake_case: camelCase taken apart, everything else that is no letter or digit an underscore. #}
{% macro snake_case(column) -%}
    trim('_' from lower(regexp_replace(
        regexp_replace(
            regexp_replace({{ column }}, '([a-z0-9])([A-Z])', '\1_\2', 'g'), '([A-Z])([A-Z][a-z])', '\1_\2', 'g'
        ),
        '[^A-Za-z0-9]+', '_', 'g'
    )))
{%- endmacro %}


{# Whether a name is snake_case: words of small letters and digits, the first begins with a letter. #}
{% macro is_snake_case(column) -%}
    {{ column }} ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'
{%- endmacro %}
