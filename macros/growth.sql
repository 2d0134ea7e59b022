{# Days without a visit after which a visitor is dormant: those of the last stage before it (seed lifecycle_stages). #}
{% macro dormant_after_days() -%}
    (select max(stages.last_seen_days)::integer from {{ ref('lifecycle_stages') }} as stages)
{%- endmacro %}


{# Query: visitors by app, measure and day. #}
{% macro visitors_by_measure() -%}
    select flows.app_id, told.measure, flows.stat_date as day, told.visitors::numeric as value
    from {{ ref('agg_visitor_flows') }} as flows
    cross join
        lateral (
            values
            ('unique', flows.unique_visitors),
            ('new', flows.new_visitors),
            ('resurrected', flows.resurrected_visitors),
            ('churned', flows.churned_visitors)
        ) as told (measure, visitors)
{%- endmacro %}
