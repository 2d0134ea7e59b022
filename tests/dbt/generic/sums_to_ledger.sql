{#
    A relation holds the cost of each day, all of it and once: its sums by day are the ledger's. `requests: false` for
    one that leaves LLM requests out.
#}
{% test sums_to_ledger(model, cost, day='cost_date', requests=true) %}
select *
from (
    select
        {{ day }} as cost_date,
        sum({{ cost }}) as cost_usd
    from {{ model }}
    group by {{ day }}
) as relation
full join (
    select
        cost_date,
        sum(billed_cost_usd) as cost_usd
    from {{ ref('fct_cost_lines') }}
    where {{ 'true' if requests else "source <> 'llm_request'" }}
    group by cost_date
) as ledger using (cost_date)
where relation.cost_usd is distinct from ledger.cost_usd
{% endtest %}
