{{ config(tags=['nightly']) }}

-- Every visit is a session, and the other way round.
(
    select session_group, session_key, visitor_id from {{ ref('int_sessions') }}
    except all
    select session_group, session_key, visitor_id from {{ ref('fct_sessions') }}
)
union all
(
    select session_group, session_key, visitor_id from {{ ref('fct_sessions') }}
    except all
    select session_group, session_key, visitor_id from {{ ref('int_sessions') }}
)
