{#
    How a model takes up what the work list names (strategy `touched`). It asks the database less than dbt's own way, and
    nothing more once it is known that no key is listed for the model. Its own hooks run before that, for they may list
    some.
#}
{% materialization incremental, adapter='postgres' %}
    {% if config.get('incremental_strategy') != 'touched' %}
        {{ return(dbt.materialization_incremental_default()) }}
    {% endif %}
    {% set kept = load_cached_relation(this) %}
    {% if kept is none or not kept.is_table or should_full_refresh() %}
        {{ return(build_whole(kept, 'table')) }}
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


{% materialization table, adapter='postgres' %}
    {{ return(build_whole(load_cached_relation(this), 'table')) }}
{% endmaterialization %}


{% materialization view, adapter='postgres' %}
    {{ return(build_whole(load_cached_relation(this), 'view')) }}
{% endmaterialization %}


{#
    A table or view in the place of what has its name now, if anything does: one transaction, and fewer statements than
    dbt's own way, which tells in a catalogue of many small models. A table is filled beside what is there, which is
    read meanwhile.
#}
{% macro build_whole(kept, type) %}
    {% set target = this.incorporate(type=type) %}
    {% set is_beside = type == 'table' and kept is not none %}
    {% set built = make_intermediate_relation(target) if is_beside else target %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if type == 'table' %}
        {% call statement('main') %}{{ get_create_table_as_sql(False, built, sql) }}{% endcall %}
        {% do create_indexes(built) %}
        {% if is_beside %}
            {% call statement() %}
                {{ get_drop_sql(kept) }};
                {{ get_rename_sql(built, adapter.quote(target.identifier)) }}
            {% endcall %}
        {% endif %}
    {% else %}
        {% call statement('main') %}
            {% if kept is not none %}{{ get_drop_sql(kept) }};{% endif %}
            {{ get_create_view_as_sql(target, sql) }}
        {% endcall %}
    {% endif %}
    {% do adapter.cache_dropped(kept) if kept is not none %}

    {% do apply_grants(target, config.get('grants'), should_revoke(kept, full_refresh_mode=True)) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{% endmacro %}
