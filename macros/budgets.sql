{# Start of the day, week, month, quarter or year that a date falls in. #}
{% macro period_start(period, day) -%}
    date_trunc({{ period }}, ({{ day }})::timestamp)::date
{%- endmacro %}


{# Length of a period; of its start and this comes the start of the next one. #}
{% macro period_length(period) -%}
    case {{ period }} when 'quarter' then interval '3 months' else ('1 ' || {{ period }})::interval end
{%- endmacro %}


{# A number of the seed forecast_settings. #}
{% macro forecast_setting(setting) -%}
    (
        select settings.value from {{ ref('forecast_settings') }} as settings
        where settings.setting = '{{ setting }}'
    )
{%- endmacro %}


{# A weekday is expected to cost what it cost in so many weeks before; a shorter history gives no forecast. #}
{% macro forecast_weeks() -%}
    5
{%- endmacro %}


{# Days before a day that say what is usual for it. #}
{% macro usual_days() -%}
    56
{%- endmacro %}


{#
    What the days from origin_date on are expected to cost, read off running totals up to a day: those of the day before
    the origin (`at_eve`), a week before that (`at_week_before`), and as many days after as the last week is short of
    seven (`at_rest`). The last seven days repeat.
#}
{% macro weeks_repeated(at_eve, at_week_before, at_rest, days) -%}
    ({{ at_eve }} - {{ at_week_before }}) * ({{ days }} / 7) + {{ at_rest }} - {{ at_week_before }}
{%- endmacro %}


{# Before forecasts are made: all of them are made anew on a new day, and where costs of past days changed. #}
{% macro touch_forecasts() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select '{{ target_mark() }}', 'forecast_scope', scope
        from unnest(array['total', 'app', 'team', 'project', 'workspace', 'feature', 'user', 'model']) as scope
        where
            (select max(origin_date) from {{ this }}) is distinct from {{ utc_date(as_of()) }}
            or exists (
                select from ops.touched
                where
                    target = '{{ target_mark() }}' and kind = 'agg_cost_daily.cost_date'
                    and key::date < {{ utc_date(as_of()) }}
            )
    {% endif %}
{% endmacro %}
