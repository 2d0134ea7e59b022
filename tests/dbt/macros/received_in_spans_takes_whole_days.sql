{{ config(tags=['nightly']) }}

-- A span begins with its first day and ends before the day it names second; without a span nothing is in one.
with

cases (received_at, expected) as (
    values
    (timestamptz '2026-03-01 23:59:59.999999+00', false),
    (timestamptz '2026-03-02 00:00:00+00', true),
    (timestamptz '2026-03-03 23:59:59.999999+00', true),
    (timestamptz '2026-03-04 00:00:00+00', false),
    (timestamptz '2026-03-08 12:00:00+00', true)
)

select * from cases
where
    {{ received_in_spans('received_at', [('2026-03-02', '2026-03-04'), ('2026-03-08', '2026-03-09')]) }}
    is distinct from expected
    or {{ received_in_spans('received_at', []) }}
