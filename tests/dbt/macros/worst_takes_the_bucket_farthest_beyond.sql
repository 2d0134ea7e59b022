{{ config(tags=['nightly']) }}

-- The value of the bucket with the greatest excess; of two equal ones, of the earlier.
with

buckets (bucket_at, excess, value) as (
    values
    (timestamptz '2026-03-31 10:00+00', 1.5, 15),
    (timestamptz '2026-03-31 11:00+00', 2.5, 25),
    (timestamptz '2026-03-31 12:00+00', 2.5, 26)
),

worst as (
    select {{ worst('value') }} as got from buckets
)

select * from worst
where got is distinct from 25
