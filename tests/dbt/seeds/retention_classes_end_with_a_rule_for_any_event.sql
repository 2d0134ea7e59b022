-- Every event must find its class.
select rule_order
from {{ ref('retention_classes') }}
where
    rule_order = (select max(rules.rule_order) from {{ ref('retention_classes') }} as rules)
    and (event_category <> '*' or event_name <> '*')
