{# Puts the listed keys into the temporary table `keys_to_replace`; returns whether there are any. #}
{% macro list_keys_to_replace() %}
    {{ return(run_query(
        "create temporary table keys_to_replace on commit drop as"
        ~ " select distinct listed.key from " ~ touched_keys() ~ " as listed (key);"
        ~ " analyze keys_to_replace;"
        ~ " select exists (select from keys_to_replace)"
    ).rows[0][0]) }}
{% endmacro %}


{# A table's columns; an error if what was selected to replace its rows has others. #}
{% macro columns_of_both(kept, selected) %}
    {% set columns = run_query(
        "select attname, count(*) = 2 and min(atttypid) = max(atttypid)"
        ~ " from pg_attribute"
        ~ " where attrelid in (to_regclass('" ~ kept.include(database=false) ~ "'), to_regclass('" ~ selected ~ "'))"
        ~ " and attnum > 0 and not attisdropped"
        ~ " group by 1 order by min(attnum)"
    ).rows %}
    {% set others = columns | rejectattr(1) | map(attribute=0) | list %}
    {% if others %}
        {{ exceptions.raise_compiler_error(
            kept.include(database=false) ~ " and what its model selects now differ in " ~ others | join(', ')
            ~ ": list it in ops.rebuilds, or build it with --full-refresh."
        ) }}
    {% endif %}
    {% set found = [] %}
    {% for column in columns %}
        {% do found.append(api.Column.create(column[0], '')) %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}


{#
    The rows of the listed keys make place for the selected ones. Keys whose rows changed are listed in turn: of
    `emits` whatever changed, of `emits_whoever` what changed but for whom it belongs to.
#}
{% macro get_incremental_touched_sql(arg_dict) %}
    {% set kept, selected = arg_dict['target_relation'], arg_dict['temp_relation'] %}
    {% set quoted = arg_dict['dest_columns'] | map(attribute='quoted') | list %}
    {% set columns = quoted | join(', ') %}
    {% set meta = config.get('meta', {}) %}
    {% set key = meta['touched'].keys() | first %}
    {% set of_listed_keys = is_listed(key) %}
    {% set whatever, whoever = meta.get('emits', []), meta.get('emits_whoever', []) %}

    {% if whatever or whoever %}
    insert into ops.touched (target, kind, key)
    with before as (select {{ columns }} from {{ kept }} where {{ of_listed_keys }}),
    -- the rows of a key that had none are new, and need no comparing
    had_rows as (select distinct {{ key }} from before),
    after as (select {{ columns }} from {{ selected }} where {{ key }} in (select {{ key }} from had_rows)),
    added as (
        select {{ (whatever + whoever) | unique | join(', ') }} from {{ selected }} as selected
        where not exists (select from had_rows where had_rows.{{ key }} = selected.{{ key }})
    ),
    changed as (
        select -1 as balance, gone.* from (select * from before except select * from after) as gone
        union all
        select 1, come.* from (select * from after except select * from before) as come
    )
    {% for column in whatever %}
    {{ 'union all' if not loop.first }}
    select distinct '{{ target_mark() }}', '{{ model.name }}.{{ column }}', {{ column }}::text
    from (select {{ column }} from added union all select {{ column }} from changed) as differing
    where {{ column }} is not null
    {% endfor %}
    {% for column in whoever %}
    {{ 'union all' if whatever or not loop.first }}
    select distinct '{{ target_mark() }}', 'whoever:{{ model.name }}.{{ column }}', {{ column }}::text
    from (
        select {{ column }} from added
        union all
        select {{ column }} from changed
        group by {{ quoted | reject('in', ['"visitor_id"', '"user_id"']) | join(', ') }}
        having sum(balance) <> 0
    ) as differing
    where {{ column }} is not null
    {% endfor %};
    {% endif %}

    delete from {{ kept }} where {{ of_listed_keys }};

    insert into {{ kept }} ({{ columns }})
    select {{ columns }} from {{ selected }};
{% endmacro %}
