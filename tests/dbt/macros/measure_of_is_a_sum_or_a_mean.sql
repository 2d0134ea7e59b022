{{ config(tags=['nightly']) }}

-- 10 in 4 measurements: a sum of 10, a mean of 2.5; a third has six digits.
with

cases (measure, amount, measurements, expected) as (
    values
    ('sum', 10.000::numeric, 4, '10'),
    ('mean', 10, 4, '2.5'),
    ('mean', 1, 3, '0.333333')
)

select * from cases
where {{ measure_of('measure', 'amount', 'measurements') }}::text <> expected
