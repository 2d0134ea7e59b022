{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['event_date']
        },
        indexes=[{'columns': ['event_date']}]
    )
}}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }}
),

sessions as (
    select * from {{ ref('fct_sessions') }}
    where {{ where_touched('session_group') }}
),

-- what an event says of its campaign goes together, be it in the columns or in the properties
events as (
    select
        events.*,
        known.measure,
        case
            when coalesce(events.utm_source, events.utm_medium, events.utm_campaign) is not null
                then array[events.utm_source, events.utm_medium, events.utm_campaign]
            else
                array[
                    nullif(events.properties ->> 'source', ''),
                    nullif(events.properties ->> 'medium', ''),
                    nullif(events.properties ->> 'campaign', '')
                ]
        end as campaign_values
    from {{ ref('fct_events') }} as events
    inner join {{ ref('campaign_events') }} as known on events.event_name = known.event_name
    where {{ where_touched('events.session_group') }}
),

goals as (
    select * from {{ ref('fct_goals') }}
    where is_conversion and {{ where_touched('session_group') }}
),

placed as (
    select
        events.session_group,
        events.session_key,
        events.event_date,
        case
            when told.is_own then coalesce(events.campaign_values[1], events.referrer_domain, 'Direct')
            else sessions.source
        end as source,
        case when told.is_own then coalesce(events.campaign_values[2], 'None') else sessions.medium end as medium,
        case when told.is_own then coalesce(events.campaign_values[3], 'None') else sessions.campaign end as campaign,
        events.measure,
        goals.value_usd
    from events
    inner join sessions
        on events.session_group = sessions.session_group and events.session_key = sessions.session_key
    cross join lateral (select array_remove(events.campaign_values, null) <> '{}' as is_own) as told
    left join goals
        on events.measure = 'campaign_conversions'
        and events.session_group = goals.session_group
        and md5('event|' || events.event_id)::uuid = goals.goal_id
),

counted as (
    select
        session_group,
        session_key,
        event_date,
        source,
        medium,
        campaign,
        measure,
        count(*) as events,
        sum(value_usd) as value_usd
    from placed
    group by session_group, session_key, event_date, source, medium, campaign, measure
    union all
    select session_group, session_key, event_date, source, medium, campaign, measure, events, value_usd
    from {{ ref('stg_closed_campaign_events') }}
    where {{ where_touched('session_group') }}
)

select
    -- ids
    counted.session_group,
    counted.session_key,
    counted.event_date,
    counted.source,
    counted.medium,
    counted.campaign,
    counted.measure,
    visits.app_id,
    visits.visitor_id,

    -- measures
    counted.events,
    counted.value_usd
from counted
inner join visits
    on counted.session_group = visits.session_group and counted.session_key = visits.session_key
