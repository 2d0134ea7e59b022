{{ config(tags=['nightly']) }}

-- A parameter's whole name and a value make a click id; its case is no matter.
with

cases (query, expected) as (
    values
    ('gclid=EAIa', 'gclid'),
    ('utm_source=x&fbclid=Iw&gclid=1', 'fbclid'),
    ('page=2&MSCLKID=7', 'msclkid'),
    ('gclid=&fbclid=1', 'fbclid'),
    ('xgclid=1', null),
    ('gclid=', null),
    ('', null),
    (null, null)
)

select *, {{ click_id('query') }} as got from cases
where {{ click_id('query') }} is distinct from expected
