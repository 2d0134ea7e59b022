{# Path of a URL or of a path with a query: no scheme, host, query or fragment. #}
{% macro url_path(column) -%}
    nullif(
        regexp_replace(split_part(split_part({{ column }}, '?', 1), '#', 1), '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*', ''), ''
    )
{%- endmacro %}


{# What stands between `?` and `#`; null where there is none. #}
{% macro url_query(column) -%}
    nullif(substring({{ column }} from '^[^?#]*\?([^#]*)'), '')
{%- endmacro %}


{# Host of an absolute URL, lower case, without `www.` and port; null for anything else. #}
{% macro url_host(column) -%}
    regexp_replace(lower(substring({{ column }} from '^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/@?#]*@)?([^/:?#]+)')), '^www\.', '')
{%- endmacro %}


{# Value of one query parameter, as sent but for `+` and `%20`; null where absent or empty. #}
{% macro query_parameter(column, parameter) -%}
    case
        -- most URLs lack it: the cheap question first
        when strpos({{ column }}, '{{ parameter }}=') > 0
            then nullif(replace(replace(substring({{ column }} from '^[^?#]*\?(?:[^#]*&)?{{ parameter }}=([^&#]*)'), '+', ' '), '%20', ' '), '')
    end
{%- endmacro %}
