{{ config(tags=['nightly']) }}

-- With visits of 24 hours at most, a stretch is a UTC day of a group.
with

cases (name, group_a, at_a, group_b, at_b, same) as (
    values
    ('one day', 'a', timestamptz '2026-03-31 00:00+00', 'a', timestamptz '2026-03-31 23:59:59.999999+00', true),
    ('the next day', 'a', timestamptz '2026-03-31 00:00+00', 'a', timestamptz '2026-04-01 00:00+00', false),
    ('another group', 'a', timestamptz '2026-03-31 00:00+00', 'b', timestamptz '2026-03-31 00:00+00', false),
    ('before 1970', 'a', timestamptz '1969-12-31 23:00+00', 'a', timestamptz '1970-01-01 01:00+00', false)
)

select *
from cases
where ({{ stretch('group_a', 'at_a') }} = {{ stretch('group_b', 'at_b') }}) <> same
