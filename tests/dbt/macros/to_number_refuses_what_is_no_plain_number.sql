{{ config(tags=['nightly']) }}

-- Plain decimal numbers of at most 15 digits before the point; anything else is null, never an error.
with

cases (text, expected) as (
    values
    ('12', 12),
    ('-3.50', -3.5),
    ('0', 0),
    ('123456789012345', 123456789012345),
    ('1234567890123456', null),
    ('many', null),
    ('1e5', null),
    ('NaN', null),
    ('.5', null),
    (' 5', null),
    ('', null),
    (null, null)
)

select *, {{ to_number('text') }} as got from cases
where {{ to_number('text') }} is distinct from expected
