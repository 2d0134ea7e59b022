{{ config(tags=['nightly']) }}

-- Written an hour ahead of UTC, with and without milliseconds.
with

cases (told_at, expected) as (
    values
    (timestamptz '2026-03-02 10:00:00.123+01', '2026-03-02T09:00:00.123Z'),
    (timestamptz '2026-12-31 23:59:59+00', '2026-12-31T23:59:59.000Z')
)

select *, {{ json_time('told_at') }} as got from cases
where {{ json_time('told_at') }} is distinct from expected
