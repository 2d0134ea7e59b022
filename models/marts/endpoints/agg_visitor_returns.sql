{{
    config(
        meta={
            'touched': {'stat_date': ['agg_visitor_days.session_date']},
            'touched_type': 'date'
        }
    )
}}

with

returns as (
    select
        app_id,
        session_date as stat_date,
        session_date - previous_session_date as after_days,
        count(*)::integer as visitors
    from {{ ref('agg_visitor_days') }}
    where {{ where_touched('session_date') }}
    group by app_id, session_date, previous_session_date
),

-- of the visitors of a day how many were there so many days before or later
returned as (
    select
        *,
        (sum(visitors) filter (where after_days is not null) over (
            partition by app_id, stat_date order by after_days
        ))::integer as returned_visitors
    from returns
)

select
    -- ids
    app_id,
    stat_date,

    -- measures
    sum(visitors)::bigint as unique_visitors,
    coalesce(
        array_agg(after_days order by after_days) filter (where after_days is not null), '{}'
    ) as after_days,
    coalesce(
        array_agg(returned_visitors order by after_days) filter (where after_days is not null), '{}'
    ) as returned_visitors
from returned
group by app_id, stat_date
-- what a function reads of an app lies side by side
order by app_id, stat_date
