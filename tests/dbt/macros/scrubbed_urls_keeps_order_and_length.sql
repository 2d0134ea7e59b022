{{ config(tags=['nightly']) }}

-- As many paths as before, in their order.
with

cases (path, expected) as (
    values
    (array['/a?token=1', '/b?utm_source=x&k=v', '/a?token=1#y=1', '/c'], array['/a', '/b?utm_source=x', '/a', '/c']),
    (array['/a?token=1'], array['/a']),
    (array[]::text[], array[]::text[])
)

select *, {{ scrubbed_urls('path') }} as got from cases
where {{ scrubbed_urls('path') }} is distinct from expected
