{{ config(tags=['nightly']) }}

with

cases (name, listed_name, pattern, fits) as (
    values
    ('Azure/GPT-4o', 'gpt-4o', 'gpt-4*', true),
    ('Azure/GPT-4o', 'gpt-4o', 'azure/*', true),
    ('Azure/GPT-4o', null, 'gpt-4*', false),
    ('my_model', null, 'my?model', false),
    ('my-model', null, 'my_model', false),
    ('100%', null, '100%', true),
    ('1000', null, '100%', false),
    ('anything', null, null, true)
)

select *
from cases
where {{ fits_pattern('name', 'listed_name', 'pattern') }} is distinct from fits
