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


{# Descriptions into the database, those alone that it does not have yet: an incremental model keeps its relation. #}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {% set said = run_query(
        "select attname, col_description(attrelid, attnum), obj_description(attrelid, 'pg_class')"
        ~ " from pg_attribute where attrelid = to_regclass('" ~ relation.include(database=false) ~ "')"
        ~ " and attnum > 0 and not attisdropped"
    ).rows %}
    {% set statements = [] %}
    {% if for_relation and config.persist_relation_docs() and model.description %}
        {% if said | length == 0 or said[0][2] != model.description %}
            {% do statements.append(alter_relation_comment(relation, model.description)) %}
        {% endif %}
    {% endif %}
    {% if for_columns and config.persist_column_docs() and model.columns %}
        {% set comments = {} %}
        {% for row in said %}
            {% do comments.update({row[0]: row[1] or ''}) %}
        {% endfor %}
        {% set columns = validate_doc_columns(relation, model.columns, comments.keys() | list) %}
        {% for name, column in columns.items() if comments.get(name) != column.description %}
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
