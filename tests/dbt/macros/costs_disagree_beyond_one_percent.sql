{{ config(tags=['nightly']) }}

with

cases (reported, computed, disagrees) as (
    values
    (1.01, 1.00, false),
    (1.011, 1.00, true),
    (0.98, 1.00, true),
    (0.0, 0.0, false),
    (0.1, 0.0, true)
)

select *
from cases
where {{ costs_disagree('reported', 'computed') }} is distinct from disagrees
