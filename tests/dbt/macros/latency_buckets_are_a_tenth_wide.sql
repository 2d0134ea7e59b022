{{ config(tags=['nightly']) }}

with

-- by hand: 1.1 ^ 10 is 2.59, ^ 25 is 10.83, ^ 50 is 117.39, ^ 95 is 8556.68
cases (latency_ms, expected_bucket, expected_ms) as (
    values
    (0, 0, 1),
    (1, 0, 1),
    (2, 8, 2),
    (10, 25, 11),
    (11, 26, 12),
    (117, 50, 117),
    (118, 51, 129),
    (8556, 95, 8557)
)

select *
from cases
where
    {{ latency_bucket('latency_ms') }} <> expected_bucket
    or {{ latency_of_bucket('expected_bucket') }} <> expected_ms
