{#
    Loads a seed: dbt's own macro, with the placeholders of a row made once. dbt asks for each cell's, and a list of
    nine thousand prices takes it seconds.
#}
{% macro postgres__load_csv_rows(model, agate_table) %}
    {{ refuse_what_is_no_number(model, agate_table) }}
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


{# Of a seed with `meta: {numbers_checked: true}`: what should be a number and is none is refused by its line. #}
{% macro refuse_what_is_no_number(model, agate_table) %}
    {% if model.config.get('meta', {}).get('numbers_checked') %}
        {% for column, data_type in model.config.column_types.items() if data_type in ('numeric', 'integer') %}
            {% for row in agate_table.rows %}
                {% if row[column] is not none and not modules.re.fullmatch(pattern_of_numbers(data_type), row[column] | string | trim) %}
                    {{ exceptions.raise_compiler_error(
                        model.original_file_path ~ ', line ' ~ (loop.index + 1) ~ ': ' ~ column ~ ' is "' ~ row[column]
                        ~ '", not ' ~ ('a whole number' if data_type == 'integer' else 'a number')
                    ) }}
                {% endif %}
            {% endfor %}
        {% endfor %}
    {% endif %}
{% endmacro %}


{% macro pattern_of_numbers(data_type) %}
    {% do return('-?[0-9]+' if data_type == 'integer' else '-?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE]-?[0-9]+)?') %}
{% endmacro %}
