-- At least 10,000 names: with fewer, visitors who share one are the rule.
select
    count(*) filter (where kind = 'adjective') as adjectives,
    count(*) filter (where kind = 'animal') as animals
from {{ ref('display_name_words') }}
having count(*) filter (where kind = 'adjective') * count(*) filter (where kind = 'animal') < 10000
