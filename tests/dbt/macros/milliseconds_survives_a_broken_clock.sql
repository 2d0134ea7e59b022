{{ config(tags=['nightly']) }}

-- Never under zero, never over a year of 365 days.
with

cases (ms, expected) as (
    values
    (1500::numeric, interval '1.5 seconds'),
    (0, interval '0'),
    (-5, interval '0'),
    (1e18, interval '8760 hours')
)

select *, {{ milliseconds('ms') }} as got from cases
where {{ milliseconds('ms') }} is distinct from expected
