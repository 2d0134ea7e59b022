{# Columns of a relation, read off the catalog: information_schema asks for rights column by column, many times slower. #}
{% macro postgres__get_columns_in_relation(relation) -%}
    {% call statement('get_columns_in_relation', fetch_result=True) %}
        select
            attname::text as column_name,
            format_type(atttypid, null) as data_type,
            information_schema._pg_char_max_length(atttypid, atttypmod) as character_maximum_length,
            information_schema._pg_numeric_precision(atttypid, atttypmod) as numeric_precision,
            information_schema._pg_numeric_scale(atttypid, atttypmod) as numeric_scale
        from pg_attribute
        where attrelid = to_regclass('{{ relation.include(database=false) }}') and attnum > 0 and not attisdropped
        order by attnum
    {% endcall %}
    {{ return(sql_convert_columns_in_relation(load_result('get_columns_in_relation').table)) }}
{%- endmacro %}


{#
    Descriptions into the database. A table that an incremental model keeps has them, and is given those alone that are
    not as the project says; everything else is new.
#}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {% set said = descriptions_there().get(relation.schema ~ '.' ~ relation.identifier, {}) if is_incremental() else {} %}
    {% set statements = [] %}
    {% if for_relation and config.persist_relation_docs() and model.description %}
        {% if said.get('') != model.description %}
            {% do statements.append(alter_relation_comment(relation, model.description)) %}
        {% endif %}
    {% endif %}
    {% if for_columns and config.persist_column_docs() %}
        {% for name, column in model.columns.items() if column.description and said.get(name) != column.description %}
            {% do statements.append(
                'comment on column ' ~ relation ~ '.' ~ (adapter.quote(name) if column.quote else name)
                ~ ' is ' ~ postgres_escape_comment(column.description) ~ ';'
            ) %}
        {% endfor %}
    {% endif %}
    {% if statements %}
        {% do run_query(statements | join('\n')) %}
    {% endif %}
{%- endmacro %}


{# The descriptions of all tables of marts and what they are made of, by `schema.table` and column; '' is the table. #}
{% macro descriptions_there() -%}
    {% set kept_as = 'descriptions of ' ~ invocation_id %}
    {% if kept_as not in graph %}
        {% set schemas = graph.nodes.values() | map(attribute='schema') | unique | join("', '") %}
        {% set told = run_query(
            "select jsonb_object_agg(relation, said) from ("
            ~ " select nspname || '.' || relname as relation,"
            ~ "   jsonb_object_agg(coalesce(attname, ''), description) as said"
            ~ " from pg_description"
            ~ " inner join pg_class on objoid = pg_class.oid and relkind = 'r'"
            ~ " inner join pg_namespace on relnamespace = pg_namespace.oid"
            ~ " left join pg_attribute on attrelid = objoid and attnum = objsubid and objsubid > 0"
            ~ " where classoid = 'pg_class'::regclass and nspname in ('" ~ schemas ~ "')"
            ~ " group by relation"
            ~ ") as described"
        ).rows[0][0] %}
        {% do graph.update({kept_as: fromjson(told or '{}')}) %}
    {% endif %}
    {{ return(graph[kept_as]) }}
{%- endmacro %}
