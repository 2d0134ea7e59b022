{#
    The work list, and what of it is a model's own: `keys_to_replace`, a table that the materialization fills for the model
    at hand, so that each is planned by how many keys there are. A kind is `session_group`, `workspace` or `cost` (put
    there by a refresh from the new loads) or `<model>.<column>`: the keys of the rows that model changed, those it left
    behind included; with `whoever:` before it, of rows that changed in more than whom they belong to.
#}

{% macro touched(kinds) -%}
    (
        select work.key
        from ops.touched as work
        where work.target = '{{ target_mark() }}'
            and work.kind in ({% for kind in kinds if not kind.startswith('linked:') %}'{{ kind }}'{{ ', ' if not loop.last }}{% endfor %})
        {%- for kind in kinds if kind.startswith('linked:') %}
        union
        -- the groups that mention a touched anonymous id, with all that share a batch with them
        (
            with recursive bearing as (
                select links.session_group
                from ops.touched as work
                inner join ops.group_links as links on links.kind = 'anonymous' and work.key = links.key
                where work.target = '{{ target_mark() }}' and work.kind = '{{ kind.removeprefix('linked:') }}'
                union
                select theirs.session_group
                from bearing
                inner join ops.group_links as ours on ours.kind = 'batch' and bearing.session_group = ours.session_group
                inner join ops.group_links as theirs on theirs.kind = 'batch' and ours.key = theirs.key
            )
            select session_group from bearing
        )
        {%- endfor %}
    )
{%- endmacro %}


{% macro touched_keys() -%}
    {%- set work = config.get('meta', {}).get('touched') -%}
    {%- if not work -%}
        {{ exceptions.raise_compiler_error(model.name ~ ": strategy touched needs meta.touched: {column: [kinds]}") }}
    {%- endif -%}
    {{ touched(work.values() | first) }}
{%- endmacro %}


{% macro where_touched(column) -%}
    {%- if is_incremental() -%}
        {{ is_listed(column) }}
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{#
    where_touched for what reads a stream of raw that has a partition a day. The days on which the listed keys' rows were
    received are written out, so that the partitions of all other days are neither planned nor locked nor read. `index`
    is the table that knows them by `key`.
#}
{% macro where_touched_in_raw(key_column, received_column, index='ops.group_days', key='session_group') -%}
    {%- if is_incremental() -%}
        {{ is_listed(key_column) }}
        and {{ received_in_spans(received_column, spans_received(index, key)) }}
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{% macro received_in_spans(column, spans) -%}
    {%- if spans -%}
        (
            {%- for span in spans %}
            {{ 'or ' if not loop.first }}{{ column }} >= '{{ span[0] }} 00:00+00' and {{ column }} < '{{ span[1] }} 00:00+00'
            {%- endfor %}
        )
    {%- else -%}
        {#- no row has it, and no partition of a day is planned for it -#}
        {{ column }} = '-infinity'
    {%- endif -%}
{%- endmacro %}


{# The days on which rows of the listed keys were received: (first day, day after the last) of each unbroken span. #}
{% macro spans_received(index, key) -%}
    {% do return(run_query(
        "select min(received_date), max(received_date) + 1"
        ~ " from ("
        ~ "   select received_date, received_date - row_number() over (order by received_date)::integer as span"
        ~ "   from (select distinct received_date from " ~ index ~ " where " ~ key ~ " in " ~ touched_keys() ~ ") as days"
        ~ " ) as numbered"
        ~ " group by span order by 1"
    ).rows) %}
{%- endmacro %}


{# The keys are cast, never the column: an index on it serves. #}
{% macro is_listed(column) -%}
    {{ column }} in (
        select listed.key::{{ config.get('meta', {}).get('touched_type', 'text') }}
        from keys_to_replace as listed
    )
{%- endmacro %}


{% macro should_full_refresh() %}
    {% set whole = config.get('full_refresh') %}
    {% if whole is none %}
        {% set whole = flags.FULL_REFRESH or is_listed_for_rebuild() or has_other_columns() %}
    {% endif %}
    {% do return(whole) %}
{% endmacro %}


{# Whether a seed has got or lost a column since it was loaded: dbt would empty its table and keep the columns. #}
{% macro has_other_columns() %}
    {% if not execute or model.resource_type != 'seed' %}{% do return(false) %}{% endif %}
    {% set loaded = adapter.get_columns_in_relation(this) | map(attribute='name') | list %}
    {% do return(loaded | length > 0 and loaded | sort != model.columns.keys() | sort) %}
{% endmacro %}


{# Asked for each model some ten times in an invocation of dbt: the list is read once, and kept in the graph. #}
{% macro is_listed_for_rebuild() %}
    {% if not execute %}{% do return(false) %}{% endif %}
    {% set kept_as = 'rebuilds of ' ~ invocation_id %}
    {% if kept_as not in graph %}
        {% set listed = run_query("select model from ops.rebuilds where target = '" ~ target_mark() ~ "'") %}
        {% do graph.update({kept_as: listed.columns[0].values() | list}) %}
    {% endif %}
    {% do return(model.name in graph[kept_as]) %}
{% endmacro %}


{# After a model whose rows belong to the owner of merged groups: what is read by raw group must see those too,
   and every group whose batches bear on theirs. #}
{% macro touch_connected_groups(kind) %}
    {% if is_incremental() %}
        insert into ops.touched (target, kind, key)
        with recursive bearing as (
            select key as session_group from {{ touched([kind]) }} as changed
            union
            select theirs.session_group
            from bearing
            inner join ops.group_links as ours on ours.kind = 'batch' and bearing.session_group = ours.session_group
            inner join ops.group_links as theirs on theirs.kind = 'batch' and ours.key = theirs.key
        )
        select '{{ target_mark() }}', '{{ kind }}', session_group from bearing
    {% endif %}
{% endmacro %}


{# The open visits of the touched groups, each with the span in which a flush shows it: from its start to the next one's. #}
{% macro visits_of_touched_groups() -%}
    select * from (
    select
        *,
        case
            when row_number() over in_group = 1 then '-infinity'::timestamptz else started_at
        end as shown_from,
        coalesce(lead(started_at) over in_group, 'infinity'::timestamptz) as shown_to
    from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }}
    window in_group as (partition by session_group order by started_at)
    ) as spans
    where is_closed is not true
{%- endmacro %}


{#
    A table built whole is analyzed at once, so that what reads it next is planned from its size; but for arrays and
    documents, which no plan asks about and which take longer than all else. A third of the usual sample tells the
    planner enough until the server's own analyze comes by.
#}
{% macro analyze_when_built_whole() %}
    {% if model.config.materialized != 'view' and not is_incremental() %}
        {% set columns = [] %}
        {% for column in model.columns.values() if not (column.data_type or '').endswith('[]') and column.data_type != 'jsonb' %}
            {% do columns.append(column.name) %}
        {% endfor %}
        set local default_statistics_target = 30;
        analyze {{ this }} {{ '(' ~ columns | join(', ') ~ ')' if columns }}
    {% endif %}
{% endmacro %}
