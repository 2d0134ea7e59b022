{{ config(tags=['nightly']) }}

-- Whole numbers are divided as decimal ones.
with

cases (part, whole, expected) as (
    values
    (1, 3, 0.333333),
    (2, 3, 0.666667),
    (0, 3, 0),
    (3, 0, null),
    (null, 3, null),
    (3, null, null)
)

select *, {{ ratio('part', 'whole') }} as got from cases
where
    {{ ratio('part', 'whole') }} is distinct from expected
    or {{ ratio('2', '3', 2) }} <> 0.67
