{#
    Loads a seed: dbt's own macro, with the placeholders of a row made once. dbt asks for each cell's, and a list of
    nine thousand prices takes it seconds.
#}
{% macro postgres__load_csv_rows(model, agate_table) %}
    {% set columns = get_seed_column_quoted_csv(model, agate_table.column_names) %}
    {% set row_of_placeholders = '(' ~ (['%s'] * agate_table.column_names | length) | join(', ') ~ ')' %}
    {% set statements = [] %}
    {% for chunk in agate_table.rows | batch(get_batch_size()) %}
        {% set values = [] %}
        {% for row in chunk %}
            {% do values.extend(row) %}
        {% endfor %}
        {% set statement %}
            insert into {{ this.render() }} ({{ columns }})
            values {{ ([row_of_placeholders] * chunk | length) | join(', ') }}
        {% endset %}
        {% do adapter.add_query(statement, bindings=values, abridge_sql_log=True) %}
        {% do statements.append(statement) if loop.first %}
    {% endfor %}
    {% do return(statements | first) %}
{% endmacro %}
