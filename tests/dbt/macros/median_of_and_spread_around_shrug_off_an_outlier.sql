{{ config(tags=['nightly']) }}

-- 10, 12, 14, 1000: median 13, distances 3, 1, 1, 987 from it, of which the median is 2.
with

numbers as (
    select array[1000, 10, 14, 12]::numeric[] as past
)

select median, {{ spread_around('past', 'median') }} as spread
from numbers
cross join lateral {{ median_of('past') }} as middle (median)
where median <> 13 or abs({{ spread_around('past', 'median') }} - 1.4826 * 2) > 1e-9
