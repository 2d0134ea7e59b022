{#
    Each request of the stream llm_requests once, by request id, else by message id, else by what it is: the first of
    them that has a session. Names under which more than one may have come are few: only theirs are sorted.
#}
{% macro requests_sent_once() -%}
    {%- set name = 'coalesce(request_id, message_id, content_hash::text)' -%}
    {%- set name_hash = 'hashtextextended(' ~ name ~ ', 0)' -%}
    with

    requests as not materialized (
        select * from {{ ref('stg_llm_requests') }}
        where record_type = 'request' and {{ where_touched_in_raw('session_group', 'received_at') }}
    ),

    repeated as (
        select {{ name_hash }} as name_hash
        from requests
        group by {{ name_hash }}
        having count(*) > 1
    )

    select * from requests
    where
        not exists (
            select from repeated
            where repeated.name_hash = {{ name_hash }}
        )

    union all

    (
        select distinct on (request_id is null, {{ name }}) *
        from requests
        where {{ name_hash }} in (select repeated.name_hash from repeated)
        order by request_id is null, {{ name }}, session_id is null, occurred_at, content_hash
    )
{%- endmacro %}


{#
    Pairs of a browser's and a server's telling that may be of one request: of one model and as many tokens, and a
    generation that was stopped with any. Where a session group has too many to compare each with each, only those next
    to each other in time are.
#}
{% macro candidate_tellings(relation) -%}
    with

    -- where each with each would be too many to compare
    crowded_groups as (
        select session_group
        from {{ relation }}
        group by session_group
        having count(*) filter (where told_by = 'browser') * count(*) filter (where told_by = 'server') > 10000
    ),

    -- alike: of one model and as many tokens; a generation the visitor stopped is like any request
    alike as (
        select (session_group, model, total_tokens)::text as likeness, occurred_at, told_by, telling_key
        from {{ relation }}
        where
            session_group in (select session_group from crowded_groups)
            and (told_by = 'server' or not coalesce(stopped, false))
            and model is not null and total_tokens is not null
        union all
        select (session_group, 'stopped')::text as likeness, occurred_at, told_by, telling_key
        from {{ relation }}
        where session_group in (select session_group from crowded_groups) and (told_by = 'server' or stopped)
    ),

    -- the nearest of all that were told at one instant is the first by key
    instants as (
        select
            likeness,
            occurred_at,
            to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as told_at,
            (array_agg(telling_key order by telling_key) filter (where told_by = 'browser'))[1] as browser_key,
            (array_agg(telling_key order by telling_key) filter (where told_by = 'server'))[1] as server_key
        from alike
        group by likeness, occurred_at
    ),

    -- windows carry the key beside the time: a join back on it may be planned as each with each
    neighbours as (
        select
            browser_key,
            server_key,
            max(array[told_at, browser_key::text]) filter (where browser_key is not null) over forwards as browser_before,
            min(array[told_at, browser_key::text]) filter (where browser_key is not null) over backwards as browser_after,
            max(array[told_at, server_key::text]) filter (where server_key is not null) over forwards as server_before,
            min(array[told_at, server_key::text]) filter (where server_key is not null) over backwards as server_after
        from instants
        window
            forwards as (partition by likeness order by occurred_at),
            backwards as (partition by likeness order by occurred_at desc)
    ),

    nearest as (
        select neighbours.browser_key, closest.server_key::uuid as server_key
        from neighbours
        cross join lateral (values (server_before[2]), (server_after[2])) as closest (server_key)
        where neighbours.browser_key is not null and closest.server_key is not null
        union
        select closest.browser_key::uuid as browser_key, neighbours.server_key
        from neighbours
        cross join lateral (values (browser_before[2]), (browser_after[2])) as closest (browser_key)
        where neighbours.server_key is not null and closest.browser_key is not null
    )

    select browser.telling_key as browser_key, server.telling_key as server_key
    from {{ relation }} as browser
    inner join {{ relation }} as server
        on browser.session_group = server.session_group
        and server.told_by = 'server'
        and (browser.stopped or (browser.model = server.model and browser.total_tokens = server.total_tokens))
    -- not a join, which may be made after each was compared with each: few groups are crowded
    where browser.told_by = 'browser' and browser.session_group not in (select session_group from crowded_groups)
    union all
    select * from nearest
{%- endmacro %}


{#
    Of the candidates those that are of one request: mutual nearest neighbours in time, a minute apart at most. Each with
    what the browser told of it: a join back on its key may be planned as each with each.
#}
{% macro matching_tellings(relation) -%}
    with

    candidates as (
        {{ candidate_tellings(relation) }}
    ),

    pairs as (
        select
            browser.telling_key as browser_key,
            server.telling_key as server_key,
            browser.app_id,
            browser.user_id,
            browser.total_tokens,
            browser.cost_usd,
            browser.stopped,
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
        inner join {{ relation }} as browser on candidates.browser_key = browser.telling_key
        inner join {{ relation }} as server on candidates.server_key = server.telling_key
        where
            browser.occurred_at between server.occurred_at - interval '60 seconds'
            and server.occurred_at + interval '60 seconds'
    )

    select browser_key, server_key, app_id, user_id, total_tokens, cost_usd, stopped from pairs
    where server_rank = 1 and browser_rank = 1
{%- endmacro %}
