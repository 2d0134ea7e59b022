{{ config(tags=['nightly']) }}

-- Over all days an app's new visitors are its visitors; on no day are there more new ones than visitors.
with

visitors as (
    select app_id, count(distinct visitor_id) as visitors
    from {{ ref('fct_sessions') }}
    group by app_id
),

days as (
    select app_id, sum(new_visitors) as new_visitors, min(returning_visitors) as fewest_returning
    from {{ ref('agg_daily_stats') }}
    group by app_id
)

select *
from visitors
full join days using (app_id)
where visitors.visitors is distinct from days.new_visitors or days.fewest_returning < 0
