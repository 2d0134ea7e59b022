{{ config(tags=['nightly']) }}

-- A status or a code of an error; what is stopped, unknown or not told has not failed.
with

cases (status, status_code, expected) as (
    values
    ('error', null, true),
    ('Failed', 200, true),
    ('timeout', null, true),
    ('success', 429, true),
    (null, 400, true),
    ('success', 399, false),
    ('stopped', null, false),
    ('done', 200, false),
    (null, null, false)
)

select *, {{ has_failed('status', 'status_code') }} as got from cases
where ({{ has_failed('status', 'status_code') }}) is distinct from expected
