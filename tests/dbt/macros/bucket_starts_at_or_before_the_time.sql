{{ config(tags=['nightly']) }}

-- A bucket starts at a whole multiple of its length since 1970, whatever the zone a time is written in.
with

cases (at, expected, got) as (
    select at, expected, {{ bucket('at', 15) }}
    from (
        values
        (timestamptz '2026-03-31 10:29:59.999+00', timestamptz '2026-03-31 10:15:00+00'),
        (timestamptz '2026-03-31 10:30:00+00', timestamptz '2026-03-31 10:30:00+00'),
        (timestamptz '2026-03-31 10:07:00+05:30', timestamptz '2026-03-31 04:30:00+00')
    ) as quarter_hours (at, expected)
    union all
    select at, expected, {{ bucket('at', 1440) }}
    from (
        values
        (timestamptz '2026-03-31 23:59:59+00', timestamptz '2026-03-31 00:00:00+00'),
        (timestamptz '2026-04-01 01:00:00+02', timestamptz '2026-03-31 00:00:00+00')
    ) as days (at, expected)
)

select * from cases
where got is distinct from expected
