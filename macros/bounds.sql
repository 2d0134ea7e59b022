{# Whether a row of raw is not before the horizon, or is carried over it: earlier days are purged and closed. #}
{% macro is_open(column) -%}
    ({{ column }} >= (select ops.horizon()) or carried)
{%- endmacro %}


{# Whether a time is at most 24 hours after the record's receipt: a clock farther ahead is broken. #}
{% macro is_credible(column) -%}
    {{ column }} <= received_at + interval '24 hours'
{%- endmacro %}
