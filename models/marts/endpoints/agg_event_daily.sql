{{
    config(
        meta={'touched': {'event_date': ['event_day']}, 'touched_type': 'date'},
        indexes=[{'columns': ['event_date']}],
        pre_hook="{{ touch_event_days() }}"
    )
}}

with

-- what tells of a session is no event of its own
events as (
    select * from {{ ref('fct_events') }}
    where
        {{ is_product_event('event_name') }}
        and {{ where_touched('event_date') }}
        and occurred_at >= (select ops.horizon())
),

events_of_sessions as (
    select
        app_id,
        event_date,
        event_name,
        session_key,
        count(*) as events,
        min(occurred_at) as first_at,
        max(occurred_at) as last_at,
        count(*) filter (where octet_length(properties::text) > 1024) as oversized_events,
        min(event_category) as first_category,
        max(event_category) as last_category
    from events
    group by app_id, event_date, event_name, session_key
),

-- a visit is shorter than a day: it has events on the day it began and perhaps on the next
over_midnight as (
    select session_key, session_date + 1 as next_date
    from {{ ref('fct_sessions') }}
    where
        {{ utc_date('ended_at') }} > session_date
        and {{ where_touched_next_day('session_date') }}
),

continued as (
    select distinct of_next.app_id, of_next.event_date, of_next.event_name, of_next.session_key
    from over_midnight
    inner join events_of_sessions as of_next
        on over_midnight.session_key = of_next.session_key and over_midnight.next_date = of_next.event_date
    inner join {{ ref('fct_events') }} as before
        on
        over_midnight.session_key = before.session_key
        and before.event_date < of_next.event_date
        and before.event_name = of_next.event_name
        and before.app_id = of_next.app_id
)

select
    -- ids
    of_session.app_id,
    of_session.event_date,
    of_session.event_name,

    -- times
    min(of_session.first_at) as first_at,
    max(of_session.last_at) as last_at,

    -- measures
    sum(of_session.events)::bigint as events,
    count(*) as sessions,
    count(continued.session_key) as continued_sessions,
    sum(of_session.oversized_events)::bigint as oversized_events,
    min(of_session.first_category) as first_category,
    max(of_session.last_category) as last_category
from events_of_sessions as of_session
left join continued using (app_id, event_date, event_name, session_key)
group by of_session.app_id, of_session.event_date, of_session.event_name
union all
select
    app_id,
    event_date,
    event_name,
    {{ recorded_value('event_day', 'first_at', 'timestamptz') }} as first_at,
    {{ recorded_value('event_day', 'last_at', 'timestamptz') }} as last_at,
    {{ recorded_value('event_day', 'events', 'bigint') }} as events,
    {{ recorded_value('event_day', 'sessions', 'bigint') }} as sessions,
    {{ recorded_value('event_day', 'continued_sessions', 'bigint') }} as continued_sessions,
    {{ recorded_value('event_day', 'oversized_events', 'bigint') }} as oversized_events,
    {{ recorded_value('event_day', 'first_category', 'text') }} as first_category,
    {{ recorded_value('event_day', 'last_category', 'text') }} as last_category
from {{ ref('stg_closed_event_days') }}
where {{ where_touched('event_date') }}
-- what a function reads of an app lies side by side
order by app_id, event_date
