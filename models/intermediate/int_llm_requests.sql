{{
    config(
        meta={'touched': {'session_group': ['session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

with

tellings as (
    select * from {{ ref('int_llm_tellings') }}
    where {{ where_touched('session_group') }}
),

-- a rating stands in a group of its own as a rule: the work list names it beside the group of its request
feedback as (
    select
        request_id,
        case when request_id is null then message_id end as message_id,
        (array_agg(rating order by occurred_at desc, content_hash) filter (where rating is not null))[1] as rating,
        (array_agg(feedback order by occurred_at desc, content_hash) filter (where feedback is not null))[1]
            as feedback
    from {{ ref('stg_llm_requests') }}
    where record_type = 'feedback' and {{ where_touched('session_group') }}
    group by request_id, case when request_id is null then message_id end
),

-- where each with each would be too many to compare
crowded_groups as (
    select session_group
    from tellings
    group by session_group
    having count(*) filter (where told_by = 'browser') * count(*) filter (where told_by = 'server') > 10000
),

-- alike: of one model and as many tokens; a generation the visitor stopped is like any request
alike as (
    select (session_group, model, total_tokens)::text as likeness, occurred_at, told_by, telling_key
    from tellings
    where
        session_group in (select session_group from crowded_groups)
        and (told_by = 'server' or not coalesce(stopped, false))
        and model is not null and total_tokens is not null
    union all
    select (session_group, 'stopped')::text as likeness, occurred_at, told_by, telling_key
    from tellings
    where session_group in (select session_group from crowded_groups) and (told_by = 'server' or stopped)
),

-- the nearest of all that were told at one instant is the first by key
instants as (
    select
        likeness,
        occurred_at,
        (array_agg(telling_key order by telling_key) filter (where told_by = 'browser'))[1] as browser_key,
        (array_agg(telling_key order by telling_key) filter (where told_by = 'server'))[1] as server_key
    from alike
    group by likeness, occurred_at
),

neighbours as (
    select
        *,
        max(occurred_at) filter (where browser_key is not null) over forwards as browser_before,
        min(occurred_at) filter (where browser_key is not null) over backwards as browser_after,
        max(occurred_at) filter (where server_key is not null) over forwards as server_before,
        min(occurred_at) filter (where server_key is not null) over backwards as server_after
    from instants
    window
        forwards as (partition by likeness order by occurred_at),
        backwards as (partition by likeness order by occurred_at desc)
),

nearest as (
    select browser.browser_key, server.server_key
    from neighbours as browser
    cross join lateral (values (browser.server_before), (browser.server_after)) as closest (at)
    inner join instants as server on browser.likeness = server.likeness and closest.at = server.occurred_at
    where browser.browser_key is not null
    union
    select browser.browser_key, server.server_key
    from neighbours as server
    cross join lateral (values (server.browser_before), (server.browser_after)) as closest (at)
    inner join instants as browser on server.likeness = browser.likeness and closest.at = browser.occurred_at
    where server.server_key is not null
),

candidates as (
    select browser.telling_key as browser_key, server.telling_key as server_key
    from tellings as browser
    inner join tellings as server
        on browser.session_group = server.session_group
        and server.told_by = 'server'
        and (browser.stopped or (browser.model = server.model and browser.total_tokens = server.total_tokens))
    where browser.told_by = 'browser' and browser.session_group not in (select session_group from crowded_groups)
    union all
    select * from nearest
),

pairs as (
    select
        browser.telling_key as browser_key,
        server.telling_key as server_key,
        row_number() over (
            partition by browser.telling_key
            order by abs(extract(epoch from browser.occurred_at - server.occurred_at)), server.telling_key
        ) as server_rank,
        row_number() over (
            partition by server.telling_key
            -- an entry that agrees goes before one that was stopped
            order by
                coalesce(browser.stopped, false),
                abs(extract(epoch from browser.occurred_at - server.occurred_at)),
                browser.telling_key
        ) as browser_rank
    from candidates
    inner join tellings as browser on candidates.browser_key = browser.telling_key
    inner join tellings as server on candidates.server_key = server.telling_key
    where
        browser.occurred_at between server.occurred_at - interval '60 seconds'
        and server.occurred_at + interval '60 seconds'
),

-- the same request told by the browser and by the server: mutual nearest neighbours
matches as (
    select browser_key, server_key from pairs
    where server_rank = 1 and browser_rank = 1
)

select
    told.session_group,
    told.telling_key as request_key,
    case
        when browser.telling_key is not null then 'both' else told.told_by
    end as told_by,
    told.request_id,
    told.message_id,
    told.chat_id,
    coalesce(told.app_id, browser.app_id) as app_id,
    coalesce(told.user_id, browser.user_id) as user_id,
    told.workspace_id,
    told.project_id,
    told.team_id,
    told.feature_id,
    told.plan,
    told.model,
    told.provider,
    told.baseline_model,
    told.status_code,
    case when browser.stopped then 'stopped' else told.status end as status,
    coalesce(browser.stopped, told.stopped, false) as stopped,
    coalesce(told.regenerated, false) as regenerated,
    told.was_routed,
    told.router_confidence,
    told.occurred_at,
    told.input_tokens,
    told.output_tokens,
    -- the zeros of a stopped generation are no count and no price
    coalesce(told.total_tokens, case when not coalesce(browser.stopped, false) then browser.total_tokens end)
        as total_tokens,
    told.cached_tokens,
    told.cache_write_tokens,
    told.reasoning_tokens,
    told.latency_ms,
    coalesce(told.cost_usd, case when not coalesce(browser.stopped, false) then browser.cost_usd end)
        as reported_cost_usd,
    coalesce(by_request.rating, by_message.rating, told.rating) as rating,
    coalesce(by_request.feedback, by_message.feedback, told.feedback) as feedback
from tellings as told
left join matches as matched on told.telling_key = matched.server_key
left join tellings as browser on matched.browser_key = browser.telling_key
left join feedback as by_request
    on told.request_id = by_request.request_id
left join feedback as by_message
    on told.message_id = by_message.message_id and by_message.request_id is null
where told.telling_key not in (select browser_key from matches)
