{{ config(tags=['nightly']) }}

-- Escapes before an address, numbers, keys.
with

cases (told, expected) as (
    values
    (jsonb '{"note": "mail\njo@a.io"}', jsonb '{"note": "mail\n[email]"}'),
    (jsonb '{"note": "c:\\\\\njo@a.io\t"}', jsonb '{"note": "c:\\\\\n[email]\t"}'),
    (jsonb '{"jo@a.io": ["x", 1]}', jsonb '{"[email]": ["x", 1]}'),
    (jsonb '{"card": 4111111111111111, "n": 12}', jsonb '{"card": null, "n": 12}'),
    (jsonb '[4111111111111111, "4111111111111111", 4111111111111111.5]', jsonb '[null, "[card]", 4111111111111111.5]'),
    (jsonb '{}', jsonb '{}'),
    (null, null)
)

select *, {{ scrubbed_json('told') }} as got from cases
where {{ scrubbed_json('told') }} is distinct from expected
