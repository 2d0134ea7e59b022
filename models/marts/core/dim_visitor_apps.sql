{{
    config(
        meta={
            'touched': {'visitor_id': ['fct_sessions.visitor_id']},
            'touched_type': 'uuid',
            'emits': ['first_session_date']
        },
        indexes=[{'columns': ['first_session_date', 'app_id']}]
    )
}}

select
    visitor_id,
    app_id,
    min(session_date) as first_session_date
from {{ ref('fct_sessions') }}
where {{ where_touched('visitor_id') }}
group by visitor_id, app_id
