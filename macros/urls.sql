{# Path of a URL or of a path with a query: no scheme, host, query or fragment. #}
{% macro url_path(column) -%}
    {%- set bare = "split_part(split_part(" ~ column ~ ", '?', 1), '#', 1)" -%}
    nullif(
        case
            -- most URLs begin so, and regular expressions take their time
            when starts_with({{ column }}, 'https://') then substr({{ bare }}, nullif(strpos(substr({{ column }}, 9), '/'), 0) + 8)
            else regexp_replace({{ bare }}, '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*', '')
        end, ''
    )
{%- endmacro %}


{# What stands between `?` and `#`; null where there is none. #}
{% macro url_query(column) -%}
    nullif(substring({{ column }} from '^[^?#]*\?([^#]*)'), '')
{%- endmacro %}


{# Host of an absolute URL, lower case, without `www.` and port; null for anything else. #}
{% macro url_host(column) -%}
    {%- set authority = "split_part(split_part(split_part(substr(" ~ column ~ ", 9), '/', 1), '?', 1), '#', 1)" -%}
    regexp_replace(
        lower(
            case
                -- most URLs begin so, and regular expressions take their time
                when starts_with({{ column }}, 'https://') and strpos({{ column }}, '@') = 0
                    then nullif(split_part({{ authority }}, ':', 1), '')
                else substring({{ column }} from '^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/@?#]*@)?([^/:?#]+)')
            end
        ),
        '^www\.', ''
    )
{%- endmacro %}


{# Value of one query parameter, as sent but for `+` and `%20`; null where absent or empty. The last one, where it is sent twice. #}
{% macro query_parameter(column, parameter) -%}
    {%- set bare = "split_part(" ~ column ~ ", '#', 1)" -%}
    {%- set query = "'&' || substr(" ~ bare ~ ", nullif(strpos(" ~ bare ~ ", '?'), 0) + 1)" -%}
    case
        -- most URLs lack it: the cheap question first
        when strpos({{ column }}, '{{ parameter }}=') > 0
            then case
                when strpos({{ query }}, '&{{ parameter }}=') > 0
                    then nullif(replace(replace(split_part(split_part({{ query }}, '&{{ parameter }}=', -1), '&', 1), '+', ' '), '%20', ' '), '')
            end
    end
{%- endmacro %}
