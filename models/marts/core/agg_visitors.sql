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

ordered as (
    select
        *,
        max(ended_at) over (
            partition by visitor_id order by started_at, session_key
            rows between unbounded preceding and 1 preceding
        ) as last_ended_at
    from sessions
),

-- a visit after so many days without one is a return
away as (
    select min(away_days) * interval '1 day' as away_at_least
    from {{ ref('lifecycle_stages') }}
),

-- all in one pass: the first of a visitor's sessions is the same for each column
visitors as (
    select
        ordered.visitor_id,
        max(ordered.user_id) as user_id,
        array_agg(distinct ordered.anonymous_id order by ordered.anonymous_id)
        filter (where ordered.anonymous_id is not null) as anonymous_ids,
        min(ordered.started_at) as first_seen_at,
        max(ordered.ended_at) as last_seen_at,
        max(ordered.started_at) filter (where ordered.started_at - ordered.last_ended_at >= away.away_at_least)
            as returned_at,
        (
            array_agg(ordered.plan order by ordered.started_at desc, ordered.plan)
            filter (where ordered.plan is not null)
        )[1] as plan,
        max(ordered.started_at) filter (where ordered.plan is not null) as plan_told_at,
        {% for column in ['app_id', 'source', 'medium', 'campaign', 'landing_page'] %}
        (array_agg(ordered.{{ column }} order by ordered.started_at, ordered.session_key))[1] as first_{{ column }},
        {% endfor %}
        count(*) as total_sessions,
        sum(ordered.event_count)::bigint as total_events,
        sum(ordered.pages_visited)::bigint as total_page_views,
        count(*) filter (where ordered.converted) as converted_sessions,
        sum(ordered.llm_cost_usd) as llm_cost_usd
    from ordered
    cross join away
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
    visitors.returned_at,

    -- subscription
    visitors.plan,
    visitors.plan_told_at,

    -- first touch
    visitors.first_app_id,
    visitors.first_source,
    visitors.first_medium,
    visitors.first_campaign,
    visitors.first_landing_page,

    -- measures
    visitors.total_sessions,
    visitors.total_events,
    visitors.total_page_views,
    visitors.converted_sessions,
    visitors.llm_cost_usd
from visitors
inner join adjectives
    on adjectives.place = {{ word_place('left(visitors.visitor_id::text, 7)', 'adjectives') }}
inner join animals
    on animals.place = {{ word_place('right(visitors.visitor_id::text, 7)', 'animals') }}
