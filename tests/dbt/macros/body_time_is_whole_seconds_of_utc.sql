{{ config(tags=['nightly']) }}

-- As the documents write it: no fraction, `Z`, whatever zone a time is written in.
with

cases (at, expected) as (
    values
    (timestamptz '2024-01-15 10:30:00+00', '2024-01-15T10:30:00Z'),
    (timestamptz '2024-01-15 10:30:00.999+02', '2024-01-15T08:30:00Z')
)

select *, {{ body_time('at') }} as got from cases
where {{ body_time('at') }} is distinct from expected
