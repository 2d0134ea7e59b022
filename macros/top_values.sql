{# The 20 most frequent values of an expression per app and day as jsonb; ties by name. #}
{% macro top_values(relation, expression, kind) -%}
    select
        app_id,
        stat_date,
        '{{ kind }}' as kind,
        jsonb_agg(jsonb_build_object('name', name, 'count', sessions) order by sessions desc, name) as top
    from (
        select
            app_id,
            session_date as stat_date,
            {{ expression }} as name,
            count(*) as sessions,
            row_number() over (
                partition by app_id, session_date order by count(*) desc, {{ expression }}
            ) as place
        from {{ relation }}
        where {{ expression }} is not null
        group by app_id, session_date, {{ expression }}
    ) as counted
    where place <= 20
    group by app_id, stat_date
{%- endmacro %}
