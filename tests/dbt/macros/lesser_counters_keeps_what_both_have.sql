{{ config(tags=['nightly']) }}

with

cases (ours, theirs, expected) as (
    values
    (jsonb '{"a": 3, "b": 1}', jsonb '{"a": 2, "b": 5}', jsonb '{"a": 2, "b": 1}'),
    ('{"a": 3}', '{"b": 5}', '{}'),
    ('{"a": 10}', '{"a": 9}', '{"a": 9}'),
    ('{}', '{}', '{}')
)

select *, {{ lesser_counters('ours', 'theirs') }} as got from cases
where {{ lesser_counters('ours', 'theirs') }} is distinct from expected
