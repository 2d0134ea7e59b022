{{ config(tags=['nightly']) }}

-- The day is that of UTC, whatever the zone a time is written in.
with

cases (at, expected) as (
    values
    (timestamptz '2026-03-31 23:59:59.999+00', date '2026-03-31'),
    (timestamptz '2026-04-01 00:00:00+00', date '2026-04-01'),
    (timestamptz '2026-04-01 01:30:00+02', date '2026-03-31')
)

select *, {{ utc_date('at') }} as got from cases
where {{ utc_date('at') }} is distinct from expected
