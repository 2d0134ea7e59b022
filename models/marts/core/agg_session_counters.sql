{{
    config(
        meta={'touched': {'session_group': ['session_group', 'int_sessions.session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

with

-- the roles of events that a widget's session counts too
counters as (
    select role, counter
    from (
        values
        ('message_sent', 'messages_sent'),
        ('message_received', 'messages_received'),
        ('widget_opened', 'widget_opened_count'),
        ('widget_minimized', 'widget_minimized_count')
    ) as known (role, counter)
),

-- the few that may tell of one
events as (
    select * from {{ ref('fct_events') }}
    where
        (event_role in (select role from counters) or event_name in ('session_increment', 'session_upsert'))
        and {{ where_touched('session_group') }}
),

-- three ways to tell of the same messages
tellings as (
    select
        events.session_group,
        events.session_key,
        events.occurred_at,
        counters.counter,
        1 as by_event,
        0 as by_increment,
        null::numeric as session_total
    from events
    inner join counters on events.event_role = counters.role
    union all
    select
        events.session_group,
        events.session_key,
        events.occurred_at,
        counters.counter,
        0 as by_event,
        coalesce({{ to_number("events.properties ->> 'increment'") }}, 0) as by_increment,
        null::numeric as session_total
    from events
    inner join counters on events.properties ->> 'counter' = counters.counter
    where events.event_name = 'session_increment'
    union all
    select
        events.session_group,
        events.session_key,
        events.occurred_at,
        counters.counter,
        0 as by_event,
        0 as by_increment,
        {{ to_number('events.properties ->> counters.counter') }} as session_total
    from events
    cross join counters
    where events.event_name = 'session_upsert' and events.properties ->> counters.counter is not null
),

counted as (
    select
        session_group,
        session_key,
        counter,
        max(occurred_at) as last_told_at,
        sum(by_event) as by_events,
        sum(by_increment) as by_increments,
        max(session_total) as session_total,
        greatest(sum(by_event), sum(by_increment)) as amount,
        false as is_closed
    from tellings
    group by session_group, session_key, counter
    union all
    select
        session_group,
        session_key,
        counter,
        null as last_told_at,
        by_events,
        by_increments,
        session_total,
        amount,
        true as is_closed
    from {{ ref('stg_closed_counters') }}
    where {{ where_touched('session_group') }}
),

-- a total is of all visits of its session: what they lack of it is put into the visit that was told it last
missing as (
    select
        *,
        max(session_total) over of_session - sum(amount) over of_session as missing_amount,
        row_number() over (
            partition by session_group, counter
            order by session_total desc nulls last, is_closed, last_told_at desc, session_key
        ) as place
    from counted
    window of_session as (partition by session_group, counter)
)

select
    session_group,
    session_key,
    counter,
    by_events::bigint as by_events,
    by_increments::bigint as by_increments,
    session_total::bigint as session_total,
    (amount + case when place = 1 then greatest(missing_amount, 0) else 0 end)::bigint as amount
from missing
where is_closed is not true
