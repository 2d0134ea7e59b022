-- One meaning under one name, no amount below nothing, and the total's scope value is `all`.
select budget
from {{ ref('budgets') }}
group by budget
having
    min(scope || ':' || scope_value || ':' || period) <> max(scope || ':' || scope_value || ':' || period)
    or min(amount_usd) < 0
    or bool_or(scope = 'total' and scope_value <> 'all')
    or bool_or(valid_to <= valid_from)
