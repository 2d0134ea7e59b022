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
    )

    select browser.telling_key as browser_key, server.telling_key as server_key
    from {{ relation }} as browser
    inner join {{ relation }} as server
        on browser.session_group = server.session_group
        and server.told_by = 'server'
        and (browser.stopped or (browser.model = server.model and browser.total_tokens = server.total_tokens))
    where browser.told_by = 'browser' and browser.session_group not in (select session_group from crowded_groups)
    union all
    select * from nearest
{%- endmacro %}
