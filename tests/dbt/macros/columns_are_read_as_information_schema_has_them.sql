{{ config(tags=['nightly']) }}

-- Names, order, types and sizes of the widest mart's columns and of the ledger of loads.
with

got (table_name, place, column_name, data_type, numeric_precision, numeric_scale) as (
    values
    ('', 0, '', '', null::integer, null::integer)
    {%- if execute %}
    {%- for relation in [ref('fct_sessions'), source('raw', 'loads')] %}
    {%- for column in adapter.get_columns_in_relation(relation) %}
    , (
        '{{ relation.identifier }}', {{ loop.index }}, '{{ column.name }}', '{{ column.dtype }}',
        {{ column.numeric_precision or 'null' }}, {{ column.numeric_scale if column.numeric_scale is not none else 'null' }}
    )
    {%- endfor %}
    {%- endfor %}
    {%- endif %}
),

told as (
    select
        table_name::text,
        row_number() over (partition by table_name order by ordinal_position) as place,
        column_name::text,
        case when data_type <> 'ARRAY' then data_type else regexp_replace(udt_name, '^_', '') || '[]' end as data_type,
        numeric_precision::integer,
        numeric_scale::integer
    from information_schema.columns
    where
        (table_schema = '{{ ref("fct_sessions").schema }}' and table_name = 'fct_sessions')
        or (table_schema = 'raw' and table_name = 'loads')
),

short_names as (
    select
        table_name, place, column_name,
        -- of arrays information_schema tells the element's internal name
        case data_type
            when 'timestamp with time zone[]' then 'timestamptz[]'
            when 'integer[]' then 'int4[]'
            when 'bigint[]' then 'int8[]'
            else data_type
        end as data_type,
        numeric_precision, numeric_scale
    from got
    where table_name <> ''
)

(select * from short_names except all select * from told)
union all
(select * from told except all select * from short_names)
