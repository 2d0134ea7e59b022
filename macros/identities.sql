{#
    What must hold between marts, each a query of the rows that break it. A nightly test asks it of all there is, an
    hourly one with `listed`, a query of the keys that a refresh touched.
#}

{# The listed keys as a first CTE; none where all there is are asked. #}
{% macro listed_keys(listed, key_type) -%}
    {%- if listed %}
listed as materialized (
    select keys.key::{{ key_type }} as key
    from {{ listed }} as keys (key)
),
    {%- endif -%}
{%- endmacro %}


{# Whether a key is listed; always where all there is are asked. #}
{% macro among_listed(column, listed) -%}
    {{ column ~ ' in (select listed.key from listed)' if listed else 'true' }}
{%- endmacro %}


{# Every visit stands in exactly one day of one app, with all it counts. #}
{% macro days_add_up_to_sessions(listed=none) -%}
with

{{ listed_keys(listed, 'date') }}
sessions as (
    select
        app_id,
        session_date as stat_date,
        count(*) as total_sessions,
        count(distinct visitor_id) as unique_visitors,
        sum(pages_visited) as page_views,
        sum(goal_count) as goals,
        sum(error_count) as error_count,
        sum(messages_sent) as total_messages_sent
    from {{ ref('fct_sessions') }}
    where {{ among_listed('session_date', listed) }}
    group by app_id, session_date
),

days as (
    select
        app_id,
        stat_date,
        total_sessions,
        unique_visitors,
        page_views,
        goals,
        error_count,
        total_messages_sent
    from {{ ref('agg_daily_stats') }}
    where {{ among_listed('stat_date', listed) }}
)

select *
from sessions
full join days using (app_id, stat_date)
where
    (
        sessions.total_sessions,
        sessions.unique_visitors,
        sessions.page_views,
        sessions.goals,
        sessions.error_count,
        sessions.total_messages_sent
    )
    is distinct from
    (
        days.total_sessions,
        days.unique_visitors,
        days.page_views,
        days.goals,
        days.error_count,
        days.total_messages_sent
    )
{%- endmacro %}


{# To the cent: requests, tokens, unpriced requests and cost of each day and app are those of the ledger's lines. #}
{% macro costs_add_up_to_requests(listed=none) -%}
with

{{ listed_keys(listed, 'date') }}
lines as (
    select
        request_date as cost_date, app_id, 1 as request, total_tokens, cost_usd,
        (cost_usd is null)::integer as unpriced
    from {{ ref('fct_llm_requests') }}
    where {{ among_listed('request_date', listed) }}
    union all
    select cost_date, app_id, 0 as request, null as total_tokens, billed_cost_usd as cost_usd, 0 as unpriced
    from {{ ref('agg_cost_charges') }}
    where {{ among_listed('cost_date', listed) }}
),

requests as (
    select
        cost_date,
        app_id,
        sum(request) as requests,
        sum(unpriced) as unpriced_requests,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd
    from lines
    group by cost_date, app_id
),

days as (
    select
        cost_date,
        app_id,
        sum(requests) as requests,
        sum(unpriced_requests) as unpriced_requests,
        sum(total_tokens) as total_tokens,
        sum(cost_usd) as cost_usd
    from {{ ref('agg_cost_daily') }}
    where {{ among_listed('cost_date', listed) }}
    group by cost_date, app_id
)

select *
from requests
full join days using (cost_date, app_id)
where
    (
        requests.requests,
        requests.unpriced_requests,
        requests.total_tokens,
        requests.cost_usd
    )
    is distinct from
    (
        days.requests,
        days.unpriced_requests,
        days.total_tokens,
        days.cost_usd
    )
{%- endmacro %}


{# Every visit is counted for one person, in total and by app. #}
{% macro visitors_add_up_to_sessions(listed=none) -%}
with

{{ listed_keys(listed, 'uuid') }}
sessions as (
    select
        visitor_id,
        count(*) as total_sessions,
        sum(event_count) as total_events,
        sum(pages_visited) as total_page_views,
        sum(llm_cost_usd) as llm_cost_usd,
        min(started_at) as first_seen_at,
        count(distinct app_id) as apps
    from {{ ref('fct_sessions') }}
    where {{ among_listed('visitor_id', listed) }}
    group by visitor_id
),

apps as (
    select visitor_id, count(*) as apps
    from {{ ref('dim_visitor_apps') }}
    where {{ among_listed('visitor_id', listed) }}
    group by visitor_id
),

visitors as (
    select
        visitors.visitor_id,
        visitors.total_sessions,
        visitors.total_events,
        visitors.total_page_views,
        visitors.llm_cost_usd,
        visitors.first_seen_at,
        apps.apps
    from (
        select * from {{ ref('agg_visitors') }}
        where {{ among_listed('visitor_id', listed) }}
    ) as visitors
    -- a full join is never a loop over the one side for each row of the other
    full join apps on visitors.visitor_id = apps.visitor_id
)

select *
from sessions
full join visitors using (visitor_id)
where
    (
        sessions.total_sessions,
        sessions.total_events,
        sessions.total_page_views,
        sessions.llm_cost_usd,
        sessions.first_seen_at,
        sessions.apps
    )
    is distinct from
    (
        visitors.total_sessions,
        visitors.total_events,
        visitors.total_page_views,
        visitors.llm_cost_usd,
        visitors.first_seen_at,
        visitors.apps
    )
{%- endmacro %}


{# A visit's counts are the numbers of its rows in the fact tables, while these are kept. #}
{% macro sessions_count_their_facts(listed=none) -%}
{%- set counts = ['page_views', 'goals', 'events', 'requests', 'errors'] -%}
{%- set of_fact = {
    'fct_page_views': 'page_views', 'fct_goals': 'goals', 'fct_events': 'events', 'fct_llm_requests': 'requests',
    'fct_errors': 'errors'
} -%}
with

{{ listed_keys(listed, 'text') }}
-- grouped rather than joined: a join may be planned as each visit with each
told as (
    select
        session_key, true as is_session, false as is_open, pages_visited as page_views, goal_count as goals,
        event_count as events, llm_request_count as requests, error_count as errors, llm_cost_usd as cost_usd,
        bounce_session
    from {{ ref('fct_sessions') }}
    where {{ among_listed('session_group', listed) }}
    union all
    select session_key, false, true, 0, 0, 0, 0, 0, null, null
    from {{ ref('int_visits') }}
    where {{ among_listed('session_group', listed) }}
    {% for fact, name in of_fact.items() %}
    union all
    select
        session_key, false, false,
        {% for count in counts %}
        {{ 'count(*)' if count == name else 0 }},
        {% endfor %}
        {{ 'sum(cost_usd)' if fact == 'fct_llm_requests' else 'null' }}, null
    from {{ ref(fact) }}
    where {{ among_listed('session_group', listed) }}
    group by session_key
    {% endfor %}
),

compared as (
    select
        session_key,
        {% for count in counts %}
        sum({{ count }}) filter (where is_session) as {{ count }},
        coalesce(sum({{ count }}) filter (where not is_session), 0) as {{ count }}_found,
        {% endfor %}
        sum(cost_usd) filter (where is_session) as cost_usd,
        sum(cost_usd) filter (where not is_session) as cost_usd_found,
        bool_or(bounce_session) as bounce_session
    from told
    group by session_key
    -- a closed one stands as it was: its facts are purged
    having bool_or(is_session) and bool_or(is_open)
)

select session_key
from compared
where
    {% for count in counts %}
    {{ count }} <> {{ count }}_found or
    {% endfor %}
    cost_usd is distinct from cost_usd_found
    or bounce_session <> (page_views_found = 1)
{%- endmacro %}


{#
    Visits of a group neither overlap nor stand closer than the gap, unless the cap cut them: without a gap between them
    they are one run, whose start plus k caps is where it is cut, one visit in each piece.
#}
{% macro sessions_are_split_by_gap_and_cap(listed=none) -%}
with

{{ listed_keys(listed, 'text') }}
ordered as (
    select
        session_group,
        session_key,
        started_at,
        ended_at,
        started_at - lag(ended_at) over by_start
        >= {{ var('session_gap_minutes') }} * interval '1 minute' as follows_gap
    from {{ ref('fct_sessions') }}
    where {{ among_listed('session_group', listed) }}
    window by_start as (partition by session_group order by started_at)
),

numbered as (
    select *, count(*) filter (where follows_gap) over (partition by session_group order by started_at) as run_number
    from ordered
),

runs as (
    select *, min(started_at) over (partition by session_group, run_number) as run_started_at
    from numbered
),

caps as (
    select
        session_group,
        session_key,
        run_number,
        floor(extract(epoch from started_at - run_started_at) / 3600 / {{ var('session_cap_hours') }}) as starts_in,
        floor(extract(epoch from ended_at - run_started_at) / 3600 / {{ var('session_cap_hours') }}) as ends_in
    from runs
)

select session_group, run_number, starts_in
from caps
group by session_group, run_number, starts_in
having count(*) > 1 or min(ends_in) <> starts_in or max(ends_in) <> starts_in
{%- endmacro %}


{# A fact's visit exists, is the same person's, and was under way. #}
{% macro facts_have_their_session(listed=none) -%}
with

{{ listed_keys(listed, 'text') }}
facts as (
    select 'fct_events' as fact, session_group, session_key, visitor_id, occurred_at as at
    from {{ ref('fct_events') }}
    where {{ among_listed('session_group', listed) }}
    union all
    select 'fct_page_views' as fact, session_group, session_key, visitor_id, viewed_at as at
    from {{ ref('fct_page_views') }}
    where {{ among_listed('session_group', listed) }}
    union all
    select 'fct_goals' as fact, session_group, session_key, visitor_id, reached_at as at
    from {{ ref('fct_goals') }}
    where {{ among_listed('session_group', listed) }}
    union all
    select 'fct_errors' as fact, session_group, session_key, visitor_id, occurred_at as at
    from {{ ref('fct_errors') }}
    where {{ among_listed('session_group', listed) }}
    union all
    select 'fct_llm_requests' as fact, session_group, session_key, visitor_id, requested_at as at
    from {{ ref('fct_llm_requests') }}
    where {{ among_listed('session_group', listed) }}
)

select facts.*
from facts
left join {{ ref('fct_sessions') }} as sessions
    on facts.session_group = sessions.session_group and facts.session_key = sessions.session_key
where
    sessions.session_key is null
    or facts.visitor_id <> sessions.visitor_id
    or facts.at not between sessions.started_at and sessions.ended_at
{%- endmacro %}


{# A visit that names no user belongs to whoever its anonymous id was when it started. #}
{% macro sessions_belong_to_whom_the_aliases_say(listed=none) -%}
with

{{ listed_keys(listed, 'text') }}
-- grouped rather than joined: a join may be planned as each visit with each
told as (
    select
        session_key, true as is_session, user_id, visitor_id,
        null as sent_user_id, null as anonymous_id, null::timestamptz as started_at
    from {{ ref('fct_sessions') }}
    where {{ among_listed('session_group', listed) }}
    union all
    select session_key, false, null, null, user_id, anonymous_id, started_at
    from {{ ref('int_visits') }}
    where {{ among_listed('session_group', listed) }}
),

sessions as (
    select
        session_key,
        max(user_id) as user_id,
        (array_agg(visitor_id) filter (where is_session))[1] as visitor_id,
        max(sent_user_id) as sent_user_id,
        max(anonymous_id) as anonymous_id,
        max(started_at) as started_at
    from told
    group by session_key
    having bool_or(is_session) and not bool_and(is_session)
)

select sessions.session_key, sessions.user_id, aliases.user_id as expected_user_id
from sessions
left join {{ ref('visitor_aliases') }} as aliases
    on sessions.anonymous_id = aliases.anonymous_id
    and (aliases.valid_from is null or sessions.started_at >= aliases.valid_from)
    and (aliases.valid_to is null or sessions.started_at < aliases.valid_to)
where
    sessions.user_id is distinct from coalesce(sessions.sent_user_id, aliases.user_id)
    or (
        aliases.visitor_id is not null and sessions.sent_user_id is null
        and sessions.visitor_id <> aliases.visitor_id
    )
{%- endmacro %}
