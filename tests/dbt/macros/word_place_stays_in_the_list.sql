{{ config(tags=['nightly']) }}

-- The number that seven hexadecimal digits spell, modulo the length of the list: 255 = 85 * 3, fffffff = 2^28 - 1.
with

three_words (word) as (
    values ('able'), ('agile'), ('airy')
),

cases (digits, expected) as (
    values ('0000000', 0), ('0000001', 1), ('00000ff', 0), ('0000100', 1), ('fffffff', 0)
)

select *, {{ word_place('digits', 'three_words') }} as got from cases
where {{ word_place('digits', 'three_words') }} is distinct from expected
