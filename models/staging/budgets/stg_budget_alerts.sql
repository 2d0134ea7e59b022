select
    -- ids
    budget,
    period,
    period_start_date,
    threshold_rate,

    -- times
    crossed_date,
    given_at,

    -- measures
    amount_usd,
    spent_usd
from {{ source('ops', 'budget_alerts') }}
where target = '{{ target_mark() }}'
