{{ config(materialized='view') }}

select
    -- ids
    goal_date,
    app_id,
    coalesce(upper(currency), 'USD') as currency,

    -- measures
    count(*) as conversions,
    sum(value) as value
from {{ ref('fct_goals') }}
where is_conversion and value is not null and value_usd is null
group by goal_date, app_id, coalesce(upper(currency), 'USD')
