{#
    How a model takes up what the work list names (strategy `touched`). Built whole it is made by dbt's own
    materialization; a refresh takes this shorter one, which asks the database less, and nothing more once it is known
    that no key is listed for the model. Its own hooks run before that, for they may list some.
#}
{% materialization incremental, adapter='postgres' %}
    {% set kept = load_cached_relation(this) %}
    {% if config.get('incremental_strategy') != 'touched' or kept is none or not kept.is_table or should_full_refresh() %}
        {{ return(dbt.materialization_incremental_default()) }}
    {% endif %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if list_keys_to_replace() %}
        {% set selected = make_temp_relation(this) %}
        {% do run_query(get_create_table_as_sql(True, selected, sql)) %}
        {% call statement('main') %}
            {{ get_incremental_touched_sql({
                'target_relation': kept, 'temp_relation': selected, 'dest_columns': columns_of_both(kept, selected)
            }) }}
        {% endcall %}
        {% do apply_grants(kept, config.get('grants'), should_revoke(kept, full_refresh_mode=False)) %}
        {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% else %}
        {% call noop_statement('main', 'NOTHING LISTED', 'SELECT', 0) %}{{ sql }}{% endcall %}
    {% endif %}

    {% do persist_docs(kept, model) %}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [kept]}) }}
{% endmaterialization %}


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


{# The rows of the listed keys make place for the selected ones; keys of `emits` whose rows changed are listed in turn. #}
{% macro get_incremental_touched_sql(arg_dict) %}
    {% set kept, selected = arg_dict['target_relation'], arg_dict['temp_relation'] %}
    {% set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') %}
    {% set meta = config.get('meta', {}) %}
    {% set of_listed_keys = is_listed(meta['touched'].keys() | first) %}

    {% for column in meta.get('emits', []) %}
    insert into ops.touched (target, kind, key)
    with before as (select {{ columns }} from {{ kept }} where {{ of_listed_keys }}),
    after as (select {{ columns }} from {{ selected }}),
    changed as (
        (select * from before except select * from after)
        union all
        (select * from after except select * from before)
    )
    select distinct '{{ target_mark() }}', '{{ model.name }}.{{ column }}', {{ column }}::text
    from changed
    where {{ column }} is not null;
    {% endfor %}

    delete from {{ kept }} where {{ of_listed_keys }};

    insert into {{ kept }} ({{ columns }})
    select {{ columns }} from {{ selected }};
{% endmacro %}
