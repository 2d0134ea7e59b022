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
