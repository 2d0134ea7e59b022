{# Whether a time is not before the horizon: earlier days are purged and closed. #}
{% macro is_open(column) -%}
    {{ column }} >= (select ops.horizon())
{%- endmacro %}


{# Whether a time is at most 24 hours after the record's receipt: a clock farther ahead is broken. #}
{% macro is_credible(column) -%}
    {{ column }} <= received_at + interval '24 hours'
{%- endmacro %}
