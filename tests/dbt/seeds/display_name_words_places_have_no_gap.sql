-- A place without a word would leave visitors without a name.
select kind
from {{ ref('display_name_words') }}
group by kind
having min(place) <> 0 or max(place) <> count(*) - 1
