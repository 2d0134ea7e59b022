{{ config(tags=['nightly']) }}

with

cases (part, weight, name, expected) as (
    values
    -- a third each: one millionth is left, all lost alike, the first by name gets it
    ('even', 1::numeric, 'a', 0.333334),
    ('even', 1, 'b', 0.333333),
    ('even', 1, 'c', 0.333333),
    -- sevenths: 142857.14, 285714.29, 571428.57
    ('sevenths', 0.25, 'a', 0.142857),
    ('sevenths', 0.5, 'b', 0.285714),
    ('sevenths', 1, 'c', 0.571429),
    -- a smaller share that lost more goes before a larger one: 666666.66 and 333333.33, then 0.5 and 999999.5
    ('lost', 2, 'a', 0.666667),
    ('lost', 1, 'b', 0.333333),
    ('tie', 1, 'a', 0.000001),
    ('tie', 1999999, 'b', 0.999999),
    ('none', 0, 'a', 0),
    ('none', 3, 'b', 1)
),

shares as (
    {{ apportioned('cases', 'weight', 'part', 'name', 'share') }}
)

select * from shares
where share is distinct from expected
