{{
    config(
        meta={
            'touched': {'session_date': ['fct_sessions.session_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['session_date']}]
    )
}}

with

sessions as (
    select * from {{ ref('fct_sessions') }}
    where {{ where_touched('session_date') }}
)

select
    -- ids
    app_id,
    session_date,
    source,
    medium,
    campaign,

    -- measures
    count(*) as sessions,
    count(distinct visitor_id) as visitors,
    count(*) filter (where converted) as conversions,
    sum(conversion_value) as revenue_usd
from sessions
group by app_id, session_date, source, medium, campaign
-- what a function reads of an app lies side by side
order by app_id, session_date
