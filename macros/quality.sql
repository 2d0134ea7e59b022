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
        where
            received_at >= (select ops.horizon())
            and not exists (select from {{ this }} as measured where loads.load_id = measured.load_id)
        union all
        select '{{ target_mark() }}', 'unmeasured_load', load_id::text
        from {{ this }}
        where received_at < (select ops.horizon())
    {% endif %}
{% endmacro %}
