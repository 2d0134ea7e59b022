{{ config(tags=['nightly']) }}

-- An empty or absent map counts nothing.
with

cases (counters, expected) as (
    values
    (jsonb '{"chat_message_sent": 2, "export": 3}', 5),
    (jsonb '{}', 0),
    (null, 0)
)

select *, {{ counter_total('counters') }} as got from cases
where {{ counter_total('counters') }} is distinct from expected
