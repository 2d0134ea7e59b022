{{ config(tags=['nightly']) }}

with

cases (rating, feedback, expected) as (
    values
    (1::numeric, null, false),
    (0, null, true),
    (-1, null, true),
    (null, ' Negative', true),
    (null, 'thumbs_down', true),
    (null, 'positive', false),
    (5, 'bad', true),
    (null, null, false)
)

select *
from cases
where {{ is_negative_feedback('rating', 'feedback') }} <> expected
