{# Start of the bucket of so many minutes that a time falls in. #}
{% macro bucket(column, minutes) -%}
    date_bin({{ minutes }} * interval '1 minute', {{ column }}, timestamptz '1970-01-01 00:00+00')
{%- endmacro %}


{# The value an anomaly's worst bucket has: the one farthest beyond its bound. #}
{% macro worst(column) -%}
    (array_agg({{ column }} order by excess desc, bucket_at))[1]
{%- endmacro %}
