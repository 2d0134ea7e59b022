{# A number of the seed quality_settings. #}
{% macro quality_setting(setting) -%}
    (
        select settings.value from {{ ref('quality_settings') }} as settings
        where settings.setting = '{{ setting }}'
    )
{%- endmacro %}


{# Pre-hook: lists the loads that are not measured yet, and those whose rows were purged since. #}
{% macro touch_unmeasured_loads() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select '{{ target_mark() }}', 'unmeasured_load', load_id::text
        from {{ ref('stg_loads') }} as loads
        where received_at >= (select ops.horizon()) and {{ is_unmeasured('loads') }}
        union all
        select '{{ target_mark() }}', 'unmeasured_load', load_id::text
        from {{ this }}
        where received_at < (select ops.horizon())
    {% endif %}
{% endmacro %}


{# Condition: a load is not measured yet. #}
{% macro is_unmeasured(loads) -%}
    not exists (select from {{ this }} as measured where {{ loads }}.load_id = measured.load_id)
{%- endmacro %}


{#
    Condition: a row was received with a load that is to be measured, or so many hours before that it may be the first of
    two. The days are written out: the partitions of all others are not even planned. For a model that touch_unmeasured_loads
    lists the loads of, after it is rendered.
#}
{% macro received_about_unmeasured_loads(column) -%}
    {%- if is_incremental() -%}
        {{ received_in_spans(column, run_query(
            "select "
            ~ utc_date("(min(received_at) - " ~ quality_setting('duplicate_hours') ~ " * interval '1 hour')") ~ ", "
            ~ utc_date("max(received_at)") ~ " + 1"
            ~ " from " ~ ref('stg_loads') ~ " as loads"
            ~ " where received_at >= (select ops.horizon())"
            ~ " and (" ~ is_unmeasured('loads') ~ " or load_id in (select key::bigint from " ~ touched_keys() ~ " as listed))"
            ~ " having count(*) > 0"
        ).rows) }}
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}
