{# Whether a record of the stream events is an event: some tell of a session instead. #}
{% macro is_product_event(column) -%}
    {{ column }} not in ('session_upsert', 'session_increment')
{%- endmacro %}


{# Before events are counted by day: a day with changed events, and the next one, on which a visit may go on. #}
{% macro touch_event_days() %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select distinct '{{ target_mark() }}', 'event_day', (changed.key::date + next.days)::text
        from {{ touched(['whoever:fct_events.event_date']) }} as changed (key)
        cross join (values (0), (1)) as next (days)
    {% endif %}
{% endmacro %}


{# where_touched for the day before a listed one. #}
{% macro where_touched_next_day(column) -%}
    {%- if is_incremental() -%}
        {{ column }} in (select listed.key::date - 1 from keys_to_replace as listed)
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{# Before weeks or months are counted: those with a changed day. #}
{% macro touch_periods(period) %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        select distinct
            '{{ target_mark() }}',
            'session_{{ period }}',
            ({{ period_start("'" ~ period ~ "'", 'changed.key::date') }})::text
        from {{ touched(['fct_sessions.session_date', 'agg_visitor_days.session_date']) }} as changed (key)
    {% endif %}
{% endmacro %}


{# where_touched for a day whose week or month is listed. #}
{% macro where_touched_period(column, period) -%}
    {%- if is_incremental() -%}
        {{ column }} in (
            select day.start_at::date
            from keys_to_replace as listed
            cross join lateral generate_series(
                listed.key::timestamp,
                listed.key::timestamp + {{ period_length("'" ~ period ~ "'") }} - interval '1 day',
                interval '1 day'
            ) as day (start_at)
        )
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{# The columns of agg_daily_stats by week or month. Visitors are distinct in the period: each counts on its first day there. #}
{% macro period_stats(period) -%}
{%- set start_date = period ~ '_start_date' -%}
with

days as (
    select *, {{ period_start("'" ~ period ~ "'", 'stat_date') }} as {{ start_date }}
    from {{ ref('agg_daily_stats') }}
    where {{ where_touched_period('stat_date', period) }}
),

visitor_days as (
    select *, {{ period_start("'" ~ period ~ "'", 'session_date') }} as {{ start_date }}
    from {{ ref('agg_visitor_days') }}
    where {{ where_touched_period('session_date', period) }}
),

breakdowns as (
    select *, {{ period_start("'" ~ period ~ "'", 'stat_date') }} as {{ start_date }}
    from {{ ref('agg_session_breakdowns') }}
    where
        dimension in ('referrer_domain', 'landing_page', 'utm_source')
        and {{ where_touched_period('stat_date', period) }}
),

totals as (
    select
        app_id,
        {{ start_date }},
        {% for column in [
            'total_sessions', 'total_conversations', 'total_messages_sent', 'total_messages_received', 'widget_loads',
            'widget_opens', 'response_count', 'error_count', 'page_views', 'goals', 'converted_sessions',
            'desktop_sessions', 'mobile_sessions', 'tablet_sessions'
        ] %}
        sum({{ column }})::bigint as {{ column }},
        {% endfor %}
        sum(total_session_seconds) as total_session_seconds,
        sum(total_response_ms) as total_response_ms
    from days
    group by app_id, {{ start_date }}
),

visitors as (
    select
        app_id,
        {{ start_date }},
        count(*) as unique_visitors,
        count(*) filter (where previous_session_date is null) as new_visitors
    from visitor_days
    where previous_session_date is null or previous_session_date < {{ start_date }}
    group by app_id, {{ start_date }}
),

ranked as (
    select
        app_id,
        {{ start_date }},
        dimension,
        value,
        sum(sessions) as sessions,
        row_number() over (
            partition by app_id, {{ start_date }}, dimension order by sum(sessions) desc, value
        ) as place
    from breakdowns
    group by app_id, {{ start_date }}, dimension, value
),

top_values as (
    select
        app_id,
        {{ start_date }},
        {% for dimension in ['referrer_domain', 'landing_page', 'utm_source'] %}
        jsonb_agg(jsonb_build_object('name', value, 'count', sessions) order by place)
        filter (where dimension = '{{ dimension }}') as {{ dimension }}{{ ',' if not loop.last }}
        {% endfor %}
    from ranked
    where place <= 20
    group by app_id, {{ start_date }}
)

select
    -- ids
    totals.app_id,
    totals.{{ start_date }},

    -- visitors
    totals.total_sessions,
    visitors.unique_visitors,
    visitors.new_visitors,
    visitors.unique_visitors - visitors.new_visitors as returning_visitors,

    -- conversations
    totals.total_conversations,
    totals.total_messages_sent,
    totals.total_messages_received,
    round(
        (totals.total_messages_sent + totals.total_messages_received)::numeric / totals.total_sessions, 2
    ) as avg_messages_per_session,
    totals.total_session_seconds,
    round(totals.total_session_seconds / totals.total_sessions)::bigint as avg_session_duration_seconds,
    totals.widget_loads,
    totals.widget_opens,
    round(100.0 * totals.total_conversations / totals.total_sessions, 2) as conversion_rate,
    totals.response_count,
    totals.total_response_ms,
    round(totals.total_response_ms / nullif(totals.response_count, 0))::bigint as avg_response_time_ms,
    totals.error_count,

    -- pages and goals
    totals.page_views,
    totals.goals,
    totals.converted_sessions,

    -- where from
    coalesce(top_values.referrer_domain, '[]') as top_referrers,
    coalesce(top_values.landing_page, '[]') as top_landing_pages,
    coalesce(top_values.utm_source, '[]') as utm_sources,

    -- devices
    totals.desktop_sessions,
    totals.mobile_sessions,
    totals.tablet_sessions
from totals
inner join visitors using (app_id, {{ start_date }})
left join top_values using (app_id, {{ start_date }})
{%- endmacro %}
