{# Desktop, mobile or tablet by the words every user agent of that kind carries; null without a user agent. #}
{% macro device_type_of(user_agent) -%}
    case
        when {{ user_agent }} ~* 'ipad|tablet|kindle|android(?!.*mobile)' then 'tablet'
        when {{ user_agent }} ~* 'mobi|iphone|ipod' then 'mobile'
        when {{ user_agent }} is not null then 'desktop'
    end
{%- endmacro %}
