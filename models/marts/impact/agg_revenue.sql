{{
    config(
        meta={
            'touched': {'revenue_date': ['whoever:fct_sessions.session_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['revenue_date']}]
    )
}}

with

sessions as (
    select * from {{ ref('fct_sessions') }}
    where {{ where_touched('session_date') }}
)

select
    -- ids
    session_date as revenue_date,
    app_id,
    coalesce(plan, 'unattributed') as plan,

    -- measures
    count(*) as sessions,
    count(*) filter (where converted) as converted_sessions,
    count(conversion_value) as paying_sessions,
    sum(conversion_value) as revenue_usd
from sessions
group by session_date, app_id, coalesce(plan, 'unattributed')
