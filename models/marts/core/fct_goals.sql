{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['goal_date'], 'emits_whoever': ['goal_date']
        },
        indexes=[{'columns': ['goal_date', 'app_id']}, {'columns': ['session_key']}]
    )
}}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }} and is_closed is not true
),

-- distinct times of one name are distinct goals, and each counts once however many snapshots carry it
batch_goals as (
    select distinct on (session_group, name, value)
        session_group,
        name as goal_name,
        value::timestamptz as reached_at,
        app_id
    from {{ ref('int_batch_values') }}
    where kind = 'goal' and {{ where_touched('session_group') }}
    order by session_group, name, value, seen_at, batch_id
),

goal_rules as (
    select * from {{ ref('goal_rules') }}
),

goals as (
    select
        batch_goals.session_group,
        md5('goal|' || batch_goals.goal_name || '|' || extract(epoch from batch_goals.reached_at))::uuid as goal_id,
        visits.session_key,
        visits.visitor_id,
        visits.user_id,
        coalesce(batch_goals.app_id, visits.app_id) as app_id,
        batch_goals.goal_name,
        'session batch' as told_by,
        batch_goals.reached_at,
        null::numeric as value,
        null::text as currency
    from batch_goals
    {{ join_visits('batch_goals', 'reached_at') }}
    union all
    select
        session_group,
        md5('event|' || event_id)::uuid as goal_id,
        session_key,
        visitor_id,
        user_id,
        app_id,
        event_name as goal_name,
        'event' as told_by,
        occurred_at as reached_at,
        coalesce(
            revenue,
            {{ to_number("properties ->> 'conversionValue'") }},
            {{ to_number("properties ->> 'conversion_value'") }}
        ) as value,
        currency
    from {{ ref('fct_events') }}
    where is_conversion and {{ where_touched('session_group') }}
),

valued as (
    select
        goals.*,
        coalesce(goal_rules.is_conversion, true) as counts,
        coalesce(goals.value, goal_rules.default_value) as worth
    from goals
    left join goal_rules on goals.goal_name = goal_rules.goal_name
)

select
    -- ids
    session_group,
    goal_id,
    session_key,
    visitor_id,
    user_id,
    app_id,

    -- what
    goal_name,
    told_by,
    counts as is_conversion,

    -- times
    reached_at,
    {{ utc_date('reached_at') }} as goal_date,

    -- measures
    worth as value,
    currency,
    case
        when worth is not null
            then worth * {{ usd_per_unit("upper(coalesce(valued.currency, 'USD'))", utc_date('valued.reached_at')) }}
    end as value_usd
from valued
