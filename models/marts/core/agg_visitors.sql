{{
    config(
        meta={
            'touched': {'visitor_id': ['fct_sessions.visitor_id']},
            'touched_type': 'uuid',
            'emits': ['user_id']
        },
        indexes=[{'columns': ['user_id']}]
    )
}}

with

sessions as (
    select * from {{ ref('fct_sessions') }}
    where {{ where_touched('visitor_id') }}
),

visitors as (
    select
        visitor_id,
        max(user_id) as user_id,
        array_agg(distinct anonymous_id order by anonymous_id) filter (where anonymous_id is not null) as anonymous_ids,
        min(started_at) as first_seen_at,
        max(ended_at) as last_seen_at,
        count(*) as total_sessions,
        sum(event_count)::bigint as total_events,
        sum(pages_visited)::bigint as total_page_views,
        count(*) filter (where converted) as converted_sessions,
        sum(llm_cost_usd) as llm_cost_usd,
        (array_agg(plan order by started_at desc, plan) filter (where plan is not null))[1] as plan,
        max(started_at) filter (where plan is not null) as plan_told_at
    from sessions
    group by visitor_id
),

ordered as (
    select
        visitor_id,
        started_at,
        max(ended_at) over (
            partition by visitor_id order by started_at, session_key
            rows between unbounded preceding and 1 preceding
        ) as last_ended_at
    from sessions
),

-- a visit after so many days without one is a return
returns as (
    select ordered.visitor_id, max(ordered.started_at) as returned_at
    from ordered
    inner join {{ ref('lifecycle_stages') }} as stages
        on ordered.started_at - ordered.last_ended_at >= stages.away_days * interval '1 day'
    group by ordered.visitor_id
),

-- "Fluffy Panda": a pure function of the visitor id and of the word lists
adjectives as (
    select place, word from {{ ref('display_name_words') }}
    where kind = 'adjective'
),

animals as (
    select place, word from {{ ref('display_name_words') }}
    where kind = 'animal'
),

first_sessions as (
    select distinct on (visitor_id) *
    from sessions
    order by visitor_id, started_at, session_key
)

select
    -- ids
    visitors.visitor_id,
    visitors.user_id,
    coalesce(visitors.anonymous_ids, '{}') as anonymous_ids,
    adjectives.word || ' ' || animals.word as display_name,

    -- times
    visitors.first_seen_at,
    visitors.last_seen_at,
    returns.returned_at,

    -- subscription
    visitors.plan,
    visitors.plan_told_at,

    -- first touch
    first_sessions.app_id as first_app_id,
    first_sessions.source as first_source,
    first_sessions.medium as first_medium,
    first_sessions.campaign as first_campaign,
    first_sessions.landing_page as first_landing_page,

    -- measures
    visitors.total_sessions,
    visitors.total_events,
    visitors.total_page_views,
    visitors.converted_sessions,
    visitors.llm_cost_usd
from visitors
inner join first_sessions using (visitor_id)
left join returns using (visitor_id)
inner join adjectives
    on adjectives.place = {{ word_place('left(visitors.visitor_id::text, 7)', 'adjectives') }}
inner join animals
    on animals.place = {{ word_place('right(visitors.visitor_id::text, 7)', 'animals') }}
