{{ config(tags=['nightly']) }}

-- Signs that other languages of patterns know mean themselves.
with

cases (kind, rule_text, name, fits) as (
    values
    ('equals', 'gpt-4', 'gpt-4', true),
    ('equals', 'gpt-4', 'gpt-4o', false),
    ('starts_with', 'gpt_4', 'gpt_4o', true),
    ('starts_with', 'gpt_4', 'gpt-4o', false),
    ('ends_with', '%free', 'llama:%free', true),
    ('ends_with', ':free', 'free', false),
    ('contains', 'claude', 'eu.claude-3', true),
    ('contains', 'c.a', 'claude', false),
    ('regex', '^o[134]', 'o3-mini', true),
    ('regex', '^(?!.*-tts)', 'flash-tts', false)
)

select *
from cases
where {{ name_fits('kind', 'rule_text', 'name') }} is distinct from fits
