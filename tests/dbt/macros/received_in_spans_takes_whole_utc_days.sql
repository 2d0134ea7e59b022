{{ config(tags=['nightly']) }}

-- A span begins with its first day, in UTC, and ends before the day after its last; without spans nothing is in one.
with

received (received_at, is_in) as (
    values
    (timestamptz '2026-03-01 23:59:59.999999+00', false),
    (timestamptz '2026-03-02 00:00+00', true),
    (timestamptz '2026-03-04 01:59:59.999999+02', true),
    (timestamptz '2026-03-04 00:00+00', false),
    (timestamptz '2026-03-09 12:00+00', true),
    (timestamptz '2026-03-10 00:00+00', false)
)

select *
from received
where
    {{ received_in_spans('received_at', [('2026-03-02', '2026-03-04'), ('2026-03-09', '2026-03-10')]) }} <> is_in
    or {{ received_in_spans('received_at', []) }}
