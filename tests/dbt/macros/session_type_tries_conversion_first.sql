{{ config(tags=['nightly']) }}

with

cases (conversions, pages, interactions, expected) as (
    values
    (1, 1, 0, 'conversion'), (0, 1, 1, 'bounce'), (0, 1, 2, 'standard'), (0, 5, 0, 'standard'),
    (0, 6, 0, 'exploration'), (0, 0, 0, 'standard')
)

select *, {{ session_type('conversions', 'pages', 'interactions') }} as got from cases
where {{ session_type('conversions', 'pages', 'interactions') }} is distinct from expected
