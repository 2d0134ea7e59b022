{{ config(tags=['nightly']) }}

with

cases (model, expected) as (
    values
    ('gpt-4o', 'gpt-4o'),
    ('GPT-4o', 'gpt-4o'),
    ('openai/gpt-4o', 'gpt-4o'),
    ('gpt-4o-2024-08-06', 'gpt-4o'),
    ('claude-3-5-haiku-20241022', 'claude-3-5-haiku'),
    ('claude-3-5-haiku@20241022', 'claude-3-5-haiku'),
    ('claude-3-5-haiku-latest', 'claude-3-5-haiku'),
    ('gpt-4o-mini', 'gpt-4o-mini'),
    ('text-embedding-3-small', 'text-embedding-3-small'),
    (null, null)
)

select *, {{ bare_model('model') }} as got from cases
where {{ bare_model('model') }} is distinct from expected
