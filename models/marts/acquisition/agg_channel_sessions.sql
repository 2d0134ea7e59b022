{{
    config(
        meta={
            'touched': {'session_date': ['fct_sessions.session_date', 'agg_session_channels.session_date']},
            'touched_type': 'date'
        },
        indexes=[{'columns': ['session_date']}]
    )
}}

with

channels as (
    select * from {{ ref('agg_session_channels') }}
    where {{ where_touched('session_date') }}
),

sessions as (
    select * from {{ ref('fct_sessions') }}
    where {{ where_touched('session_date') }}
)

select
    -- ids
    channels.app_id,
    channels.session_date,
    channels.channel,
    channels.source,
    channels.medium,
    channels.campaign,

    -- measures
    count(*) as sessions,
    count(distinct channels.visitor_id) as visitors,
    count(*) filter (where sessions.converted) as conversions,
    sum(sessions.conversion_value) as revenue_usd
from channels
inner join sessions
    on channels.session_group = sessions.session_group and channels.session_key = sessions.session_key
group by
    channels.app_id, channels.session_date, channels.channel, channels.source, channels.medium, channels.campaign
