{#
    Whether nobody who opted out did it: no id of the row is one that was opted out at any time from `first` to `last`.
    An id whose bit is not set in the filter never was; the list is looked into for the others alone, by a function,
    for a subquery would keep a model from reading in parallel.
#}
{% macro is_not_opted_out(first, last=none) -%}
    {%- for kind in ['user', 'anonymous', 'session'] %}
    {{ 'and ' if not loop.first }}(
        {{ kind }}_id is null
        or get_bit(
            {{ opt_out_filter("filter.bits || ''::bytea") }},
            hashtextextended({{ kind }}_id, 0) & {{ opt_out_filter('8 * octet_length(filter.bits) - 1') }}
        ) <> 1
        or not ops.is_opted_out('{{ kind }}', {{ kind }}_id, {{ first }}, {{ last or first }})
    )
    {%- endfor %}
{%- endmacro %}


{# Of the filter, read once for all rows; null, which spares no look into the list, if this server hashes otherwise. #}
{% macro opt_out_filter(expression) -%}
    (select {{ expression }} from ops.opt_out_filter as filter where filter.probe = hashtextextended('', 0))
{%- endmacro %}
