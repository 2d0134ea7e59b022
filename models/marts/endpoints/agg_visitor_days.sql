{{
    config(
        meta={
            'touched': {'visitor_id': ['fct_sessions.visitor_id']},
            'touched_type': 'uuid',
            'emits': ['session_date']
        },
        indexes=[{'columns': ['session_date', 'app_id']}]
    )
}}

select
    -- ids
    visitor_id,
    app_id,

    -- times
    session_date,
    lag(session_date) over (partition by visitor_id, app_id order by session_date) as previous_session_date,

    -- measures
    count(*) as sessions
from {{ ref('fct_sessions') }}
where {{ where_touched('visitor_id') }}
group by visitor_id, app_id, session_date
