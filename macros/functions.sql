{# Who may call functions and read marts. #}
{% macro reader_roles() -%}
    {% do return(['tidemark_analyst', 'tidemark_bi', 'tidemark_workspace_reader']) %}
{%- endmacro %}


{#
    A function is PL/pgSQL: it checks its arguments, and a session keeps its plans. It reads with the rights of who calls
    it, so that row-level security holds, and only the readers may. Its relations are found when it runs: a table built
    anew does not take it down, and a former version with other arguments does not stay beside it.
#}
{% macro postgres__scalar_function_sql(target_relation) -%}
    {%- set function = target_relation.include(database=false) -%}
    {%- set arguments = formatted_scalar_function_args_sql() | trim -%}
    do $drop$
    declare
        former record;
    begin
        for former in
            select oid::regprocedure as signature from pg_proc
            where
                pronamespace = to_regnamespace('{{ target_relation.schema }}')
                and proname = '{{ target_relation.identifier }}'
                and lower(pg_get_function_arguments(oid)) <> lower('{{ arguments | replace("'", "''") }}')
        loop
            execute format('drop function %s', former.signature);
        end loop;
    end
    $drop$;
    create or replace function {{ function }} ({{ arguments }})
    returns {{ model.returns.data_type }}
    language plpgsql {{ scalar_function_volatility_sql() | trim }} parallel safe security invoker
    set search_path = pg_catalog, pg_temp
    -- a plan for the days, page and app that are asked for; none of them is worth compiling
    set plan_cache_mode = force_custom_plan
    set jit = off
    as $function$
    {{ model.compiled_code }}
    $function$;
    revoke all on function {{ function }} from public;
    grant execute on function {{ function }} to {{ reader_roles() | join(', ') }};
{%- endmacro %}


{# A relation as a function's text names it: no database, which may be copied or renamed with the function in it. #}
{% macro stored(relation) -%}
    {{ relation.include(database=false) }}
{%- endmacro %}


{# The longest period that a function takes, days: ten years. #}
{% macro longest_period_days() -%}
    3660
{%- endmacro %}


{# First statement of a function with the argument `as_of`: null means what "now" is for the marts. #}
{% macro settle_as_of() -%}
    as_of := coalesce(as_of, ops.as_of('{{ target_mark() }}'));
    if not isfinite(as_of) then
        raise invalid_parameter_value using message = 'as_of must be a time, not infinity';
    end if;
{%- endmacro %}


{#
    Statements that check the argument `days` and fill the variables `last_day` and `first_day`: the UTC day of `as_of`
    and as many days as make `days` with it. Null means the default.
#}
{% macro check_days(default=30) -%}
    days := coalesce(days, {{ default }});
    if days not between 1 and {{ longest_period_days() }} then
        raise invalid_parameter_value using
            message = format('days must be from 1 to {{ longest_period_days() }}, not %s', days);
    end if;
    last_day := {{ utc_date('as_of') }};
    first_day := last_day - days + 1;
{%- endmacro %}


{# Statements that check the argument `limit`; null means the default. #}
{% macro check_limit(default, most=100) -%}
    "limit" := coalesce("limit", {{ default }});
    if "limit" not between 1 and {{ most }} then
        raise invalid_parameter_value using
            message = format('limit must be from 1 to {{ most }}, not %s', "limit");
    end if;
{%- endmacro %}


{#
    Statements that check the argument `page`, counted from 1, and fill the variable `skipped` with how many rows stand
    before it. They go after check_limit.
#}
{% macro check_page() -%}
    page := coalesce(page, 1);
    if page < 1 then
        raise invalid_parameter_value using message = format('page must be 1 or more, not %s', page);
    end if;
    skipped := (page - 1)::bigint * "limit";
{%- endmacro %}


{# A time as the documents' bodies show it: UTC, whole seconds. #}
{% macro body_time(column) -%}
    to_char({{ column }} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
{%- endmacro %}


{# Distinct visitors of a run of days, from rows of agg_visitor_returns: on each day those who had not been there since its first day. #}
{% macro unique_visitors(first_day) -%}
    coalesce(sum(
        unique_visitors - coalesce(returned_visitors[width_bucket(stat_date - {{ first_day }}, after_days)], 0)
    ), 0)::bigint
{%- endmacro %}


{#
    Whether the reader sees every row of a relation: row-level security is not for them, or its policy for staff is.
    Counts of an app are then those of its rows.
#}
{% macro reads_every_row(relation) -%}
    (
        not row_security_active('{{ stored(relation) }}')
        or pg_has_role('tidemark_analyst', 'usage')
        or pg_has_role('tidemark_bi', 'usage')
    )
{%- endmacro %}


{#
    Statements that fill the variables `total`, `until` and `skipped`: the rows of `relation` that the page `page` holds
    are, newest first, the `limit` rows up to `until` after the first `skipped`. Rows are those of the argument `app` from
    `opened` to `as_of` for which `condition` holds; `counts` is a query of day and number of them by day. Whole days are
    skipped by their counts, so that a page far back costs what the first one does.
#}
{% macro find_page(relation, at, counts, condition='true') -%}
    until := as_of;
    if {{ reads_every_row(relation) }} then
        select count(*) into total from {{ stored(relation) }}
        where
            app_id = app and {{ at }} between ({{ utc_date('as_of') }}::timestamp at time zone 'UTC') and as_of
            and {{ condition }};
        if skipped >= total then
            skipped := skipped - total;
            with counted as ({{ counts }}),
            ordered as (
                select
                    day,
                    rows_of_day,
                    sum(rows_of_day) over (order by day desc) - rows_of_day as rows_after
                from counted
            )
            select
                total + coalesce(sum(rows_of_day), 0),
                (max(day) filter (where skipped between rows_after and rows_after + rows_of_day - 1) + 1)::timestamp
                at time zone 'UTC' - interval '1 microsecond',
                skipped - max(rows_after) filter (where skipped between rows_after and rows_after + rows_of_day - 1)
            into total, until, skipped
            from ordered;
        else
            total := total + coalesce((select sum(rows_of_day) from ({{ counts }}) as counted), 0);
        end if;
    else
        select count(*) into total from {{ stored(relation) }}
        where app_id = app and {{ at }} between opened and as_of and {{ condition }};
    end if;
{%- endmacro %}


{# Query for find_page: visits by day, before the day of as_of. #}
{% macro sessions_by_day() -%}
    select stat_date as day, total_sessions as rows_of_day
    from {{ stored(ref('agg_daily_stats')) }}
    where app_id = app and stat_date < {{ utc_date('as_of') }}
{%- endmacro %}


{# Query for find_page: events by day, before the day of as_of. #}
{% macro events_by_day() -%}
    select event_date as day, events as rows_of_day
    from {{ stored(ref('agg_daily_events')) }}
    where app_id = app and event_date >= {{ utc_date('opened') }} and event_date < {{ utc_date('as_of') }}
{%- endmacro %}


{# Visits of the argument `app` from first_day to last_day by one dimension, the 100 most frequent, as a jsonb array. #}
{% macro breakdown(dimension, name) -%}
    (
        select coalesce(
            jsonb_agg(jsonb_build_object('{{ name }}', value, 'count', sessions) order by sessions desc, value), '[]'
        )
        from (
            select value, sum(sessions)::bigint as sessions
            from {{ stored(ref('agg_session_breakdowns')) }}
            where app_id = app and dimension = '{{ dimension }}' and stat_date between first_day and last_day
            group by value
            order by sum(sessions) desc, value
            limit 100
        ) as counted
    )
{%- endmacro %}


{# The session id as sent; null of a session without one. #}
{% macro session_id_of(session_group) -%}
    case when {{ session_group }} like 's:%' then substr({{ session_group }}, 3) end
{%- endmacro %}


{# Query: the visitor of the argument `app` that an id means; of several who used it, the last seen. #}
{% macro visitor_known_by(id) -%}
    select visitor_id
    from {{ stored(ref('dim_visitor_ids')) }} as known_by
    where known_by.app_id = app and known_by.id = {{ id }}
    order by known_by.last_seen_at desc, known_by.visitor_id
    limit 1
{%- endmacro %}


{# A visitor's profile as a body shows it, from a row of agg_visitor_apps. #}
{% macro profile(id, visitors) -%}
    jsonb_build_object(
        'id', {{ id }},
        'displayName', {{ visitors }}.display_name,
        'firstSeen', {{ json_time(visitors ~ '.first_seen_at') }},
        'lastSeen', {{ json_time(visitors ~ '.last_seen_at') }},
        'totalSessions', {{ visitors }}.total_sessions,
        'totalEvents', {{ visitors }}.total_events
    )
{%- endmacro %}
