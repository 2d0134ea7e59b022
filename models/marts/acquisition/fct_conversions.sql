{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['visitor_id', 'conversion_date']
        },
        indexes=[{'columns': ['visitor_id']}, {'columns': ['conversion_date', 'app_id']}, {'columns': ['session_key']}]
    )
}}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }}
),

goals as (
    select * from {{ ref('fct_goals') }}
    where is_conversion and {{ where_touched('session_group') }}
),

closed_conversions as (
    select * from {{ ref('stg_closed_conversions') }}
    where {{ where_touched('session_group') }}
),

reached as (
    select
        session_group, goal_id as conversion_id, session_key, goal_name, told_by, reached_at, value, currency, value_usd
    from goals
    union all
    -- of a closed visit: worth what it was worth when the day was closed
    select session_group, conversion_id, session_key, goal_name, told_by, reached_at, value, currency, value_usd
    from closed_conversions
)

select
    -- ids
    reached.session_group,
    reached.conversion_id,
    reached.session_key,
    visits.visitor_id,
    visits.user_id,
    visits.app_id,

    -- what
    reached.goal_name,
    reached.told_by,

    -- times
    reached.reached_at,
    {{ utc_date('reached.reached_at') }} as conversion_date,

    -- measures
    reached.value,
    reached.currency,
    reached.value_usd
from reached
inner join visits
    on reached.session_group = visits.session_group and reached.session_key = visits.session_key
