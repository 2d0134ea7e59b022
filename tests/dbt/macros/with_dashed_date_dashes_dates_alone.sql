{{ config(tags=['nightly']) }}

with

cases (name, dashed) as (
    values
    ('gpt-5.2-20251211', 'gpt-5.2-2025-12-11'),
    ('gpt-5.2-20251211:free', 'gpt-5.2-2025-12-11:free'),
    ('gpt-5.2-20251311', 'gpt-5.2-20251311'),
    ('gpt-5.2-2025-12-11', 'gpt-5.2-2025-12-11'),
    ('gpt-5.2-202512110', 'gpt-5.2-202512110')
)

select *
from cases
where {{ with_dashed_date('name') }} is distinct from dashed
