-- Every request must find a rule.
select count(*) as rules
from {{ ref('llm_token_rules') }}
where provider = '*'
having count(*) <> 1
