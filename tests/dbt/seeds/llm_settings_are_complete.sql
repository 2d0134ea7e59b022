-- Every setting is there, and makes sense.
select count(*) as settings
from {{ ref('llm_settings') }}
having count(*) <> 1 or min(value) < 0
