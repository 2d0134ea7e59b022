-- Every setting is there, and makes sense.
select count(*) as settings
from {{ ref('forecast_settings') }}
having
    count(*) <> 4
    or min(value) <= 0
    or max(value) filter (where setting = 'interval_share') >= 1
