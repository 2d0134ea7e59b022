{# Start of the bucket of so many minutes that a time falls in. #}
{% macro bucket(column, minutes) -%}
    to_timestamp(floor(extract(epoch from {{ column }}) / ({{ minutes }} * 60)) * {{ minutes }} * 60)
{%- endmacro %}


{# The value an anomaly's worst bucket has: the one farthest beyond its bound. #}
{% macro worst(column) -%}
    (array_agg({{ column }} order by excess desc, bucket_at))[1]
{%- endmacro %}
