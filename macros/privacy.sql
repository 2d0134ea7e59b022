{#
    Whether nobody who opted out did it: no id of the row is one that was opted out at any time from `first` to `last`.
    Each a condition of its own, so that each is one join by hash, and over nothing when nobody opted out.
#}
{% macro is_not_opted_out(first, last=none) -%}
    {%- for kind in ['user', 'anonymous', 'session'] %}
    {{ 'and ' if not loop.first }}not exists (
        select from {{ source('ops', 'opt_outs') }} as hidden
        where
            hidden.kind = '{{ kind }}' and hidden.subject_id = {{ kind }}_id
            and {{ last or first }} >= hidden.opted_out_at and {{ first }} < hidden.opted_in_at
    )
    {%- endfor %}
{%- endmacro %}
