{# A number of the seed recommendation_rules. #}
{% macro rule_threshold(rule, threshold) -%}
    (
        select rules.value from {{ ref('recommendation_rules') }} as rules
        where rules.rule = '{{ rule }}' and rules.threshold = '{{ threshold }}'
    )
{%- endmacro %}


{# The first UTC day that a rule looks at; the last one is yesterday. #}
{% macro first_day_of(rule) -%}
    ({{ utc_date(as_of()) }} - {{ rule_threshold(rule, 'window_days') }}::integer)
{%- endmacro %}


{# Whether a day is one of those that a rule looks at: whole days, so not today. #}
{% macro is_looked_at(column, rule) -%}
    ({{ column }} >= {{ first_day_of(rule) }} and {{ column }} < {{ utc_date(as_of()) }})
{%- endmacro %}


{# What a rule found in its days, for 30 of them. #}
{% macro in_30_days(amount, rule) -%}
    round(({{ amount }}) * 30 / {{ rule_threshold(rule, 'window_days') }}, 2)
{%- endmacro %}


{# The bucket of a response time: each ends a tenth above the one before, so a percentile read off them is at most that much too high. #}
{% macro latency_bucket(latency_ms) -%}
    ceil(ln(greatest({{ latency_ms }}, 1)::numeric) / ln(1.1) - 0.000000001)::integer
{%- endmacro %}


{# The response time that a bucket ends with, ms. #}
{% macro latency_of_bucket(bucket) -%}
    round(power(1.1, {{ bucket }}))::bigint
{%- endmacro %}
