-- Each detector has the numbers it needs, in the range that makes sense of them.
select rule
from {{ ref('anomaly_rules') }}
where
    coalesce(threshold, 0) <= 0
    or coalesce(critical_excess, 0) < 1
    or (detector = 'drop' and threshold >= 1)
    or (detector = 'drop' and direction <> 'below')
    or (detector = 'threshold' and direction <> 'above')
    or (detector <> 'threshold' and coalesce(minimum_history, 0) not between 1 and 8)
