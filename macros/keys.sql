{# A person's key: the user where one is known, else the anonymous id, else the session itself. #}
{% macro visitor_id(user_id, anonymous_id, session_group) -%}
    md5(
        case
            when {{ user_id }} is not null then 'user:' || {{ user_id }}
            when {{ anonymous_id }} is not null then 'anonymous:' || {{ anonymous_id }}
            else 'session:' || {{ session_group }}
        end
    )::uuid
{%- endmacro %}


{# A visit's key: it changes only if the visit's start does. #}
{% macro session_key(session_group, started_at) -%}
    md5({{ session_group }} || '|' || extract(epoch from {{ started_at }})::text)::uuid
{%- endmacro %}


{% macro utc_date(column) -%}
    ({{ column }} at time zone 'UTC')::date
{%- endmacro %}


{# Which stretch of a group's time: each as long as a visit can be, so a visit lies in one or in two that follow. #}
{% macro stretch(group_column, at_column) -%}
    {{ group_column }} || '|' || floor(date_part('epoch', {{ at_column }}) / {{ var('session_cap_hours') * 3600 }})::bigint
{%- endmacro %}


{#
    The visit a timed row belongs to: joins int_sessions as `visits`. Only visits of the row's stretch are compared with
    it: with all of its group's, a visitor of years would take the square of his events.
#}
{% macro join_visits(relation, at_column, group_column='session_group', kind='inner') -%}
    {{ kind }} join (
        select
            visits.*,
            case when places.is_last then {{ stretch('session_group', 'ended_at') }}
            else {{ stretch('session_group', 'started_at') }} end as stretch
        from visits
        cross join (values (false), (true)) as places (is_last)
        where
            not places.is_last
            or {{ stretch('session_group', 'ended_at') }} <> {{ stretch('session_group', 'started_at') }}
    ) as visits
        on {{ stretch(relation ~ '.' ~ group_column, relation ~ '.' ~ at_column) }} = visits.stretch
        and {{ relation }}.{{ at_column }} between visits.started_at and visits.ended_at
{%- endmacro %}


{# First non-null value of an event's column, by time; ties by content. #}
{% macro first_value(column) -%}
    ops.first_value({{ column }} order by occurred_at, tie)
{%- endmacro %}


{# A place in a word list of that many words: a pure function of the visitor id. #}
{% macro word_place(digits, words) -%}
    ('x' || {{ digits }})::bit(28)::integer % (select count(*) from {{ words }} as words)
{%- endmacro %}
