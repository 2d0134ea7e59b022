{{
    config(
        meta={
            'touched': {'stat_date': ['whoever:fct_sessions.session_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['stat_date']}]
    )
}}

with

sessions as (
    select * from {{ ref('fct_sessions') }}
    where {{ where_touched('session_date') }}
)

select
    -- ids
    sessions.app_id,
    breakdown.dimension,
    sessions.session_date as stat_date,
    -- an index holds no longer text
    left(breakdown.value, 500) as value,

    -- measures
    count(*) as sessions
from sessions
cross join
    lateral (
        values
        ('device_type', coalesce(sessions.device_type, 'unknown')),
        ('browser_name', coalesce(sessions.browser_name, 'unknown')),
        ('os_name', coalesce(sessions.os_name, 'unknown')),
        ('referrer_domain', coalesce(sessions.referrer_domain, 'direct')),
        ('landing_page', sessions.landing_page),
        ('utm_source', sessions.utm_source)
    ) as breakdown (dimension, value)
where breakdown.value is not null
group by sessions.app_id, breakdown.dimension, sessions.session_date, left(breakdown.value, 500)
-- what a function reads of an app lies side by side
order by sessions.app_id, breakdown.dimension, stat_date
