{# Start of the day, week, month, quarter or year that a date falls in. #}
{% macro period_start(period, day) -%}
    date_trunc({{ period }}, ({{ day }})::timestamp)::date
{%- endmacro %}


{# Length of a period; of its start and this comes the start of the next one. #}
{% macro period_length(period) -%}
    case {{ period }} when 'quarter' then interval '3 months' else ('1 ' || {{ period }})::interval end
{%- endmacro %}
