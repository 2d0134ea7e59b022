{{
    config(
        meta={
            'touched': {
                'usage_date': ['whoever:fct_sessions.session_date', 'whoever:fct_llm_requests.request_date']
            },
            'touched_type': 'date'
        },
        indexes=[{'columns': ['usage_date']}]
    )
}}

with

sessions as (
    select session_date as usage_date, app_id, session_key, workspace_id, features_used
    from {{ ref('fct_sessions') }}
    where {{ where_touched('session_date') }}
),

requests as (
    select request_date as usage_date, app_id, session_key, feature_id
    from {{ ref('fct_llm_requests') }}
    where {{ where_touched('request_date') }} and feature_id is not null
),

-- one use may be told by several: a visit that used a feature counts once
used as (
    select usage_date, 'feature' as scope, app_id, feature_id as scope_value, session_key from requests
    union
    select usage_date, 'feature', app_id, feature.feature_id, session_key
    from sessions
    cross join lateral unnest(features_used) as feature (feature_id)
    union all
    select usage_date, 'app', app_id, app_id as scope_value, session_key from sessions
    union all
    select usage_date, 'workspace', app_id, workspace_id, session_key from sessions
    where workspace_id is not null
)

select
    -- ids
    scope,
    app_id,
    scope_value,
    usage_date,

    -- measures
    count(*) as sessions
from used
group by scope, app_id, scope_value, usage_date
