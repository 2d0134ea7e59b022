{{ config(tags=['nightly']) }}

-- The last week was expected to cost 1, 2, … 7: running totals 28 at its end, 0 before it, 1, 3, 6 … within.
with

cases (days, at_rest, expected) as (
    values
    (1, 1, 1),
    (3, 6, 6),
    (7, 0, 28),
    (16, 3, 59)
)

select * from cases
where {{ weeks_repeated('28', '0', 'at_rest', 'days') }} <> expected
