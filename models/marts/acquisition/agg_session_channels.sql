{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['session_date', 'visitor_id']
        },
        indexes=[{'columns': ['session_date']}, {'columns': ['visitor_id', 'started_at']}]
    )
}}

with

sessions as (
    select
        *,
        {{ folded('source') }} as folded_source,
        {{ folded('medium') }} as folded_medium,
        {{ folded('campaign') }} as folded_campaign,
        {{ folded('referrer_domain') }} as folded_referrer,
        coalesce(click_id, '') as folded_click_id
    from {{ ref('fct_sessions') }}
    where {{ where_touched('session_group') }}
),

-- many visits come from one place: the rules are asked once of each
origins as (
    select distinct
        app_id,
        folded_source as source,
        folded_medium as medium,
        folded_campaign as campaign,
        folded_referrer as referrer_domain,
        folded_click_id as click_id
    from sessions
),

channels as (
    {{ channels_of('origins') }}
)

select
    -- ids
    sessions.session_group,
    sessions.session_key,
    sessions.app_id,
    sessions.visitor_id,

    -- times
    sessions.started_at,
    sessions.session_date,

    -- where it came from
    channels.channel,
    sessions.source,
    sessions.medium,
    sessions.campaign,
    sessions.referrer_domain,
    sessions.click_id
from sessions
inner join channels
    on sessions.app_id = channels.app_id
    and sessions.folded_source = channels.source
    and sessions.folded_medium = channels.medium
    and sessions.folded_campaign = channels.campaign
    and sessions.folded_referrer = channels.referrer_domain
    and sessions.folded_click_id = channels.click_id
