{# The kind of a session by what happened in it. #}
{% macro session_type(conversions, pages, interactions) -%}
    case
        when {{ conversions }} > 0 then 'conversion'
        when {{ pages }} = 1 and {{ interactions }} < 2 then 'bounce'
        when {{ pages }} > 5 then 'exploration'
        else 'standard'
    end
{%- endmacro %}


{# A time as JavaScript writes it, whatever zone the reader's session is in. #}
{% macro json_time(column) -%}
    to_char({{ column }} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
{%- endmacro %}
