-- Every setting is there, and makes sense.
select count(*) as settings
from {{ ref('anomaly_settings') }}
having
    count(*) <> 3
    or min(value) < 1
