-- The last stage has no condition, and one length of absence makes a return: else a visitor has no stage, or two.
with

stages as (
    select
        stage,
        first_seen_days,
        last_seen_days,
        returned_days,
        stage_order = max(stage_order) over () as is_last,
        count(away_days) over () as lengths_of_absence
    from {{ ref('lifecycle_stages') }}
)

select *
from stages
where
    (is_last and num_nonnulls(first_seen_days, last_seen_days, returned_days) > 0)
    or lengths_of_absence <> 1
