{{ config(tags=['nightly']) }}

with

cases (told, expected) as (
    values
    ('Google', 'google'), ('www.Google.de', 'google.de'), (' CPC ', 'cpc'), ('Direct', 'direct'),
    ('wwwx.de', 'wwwx.de'),
    (null, '')
)

select *, {{ folded('told') }} as got from cases
where {{ folded('told') }} is distinct from expected
