{{
    config(
        meta={
            'touched': {'session_group': ['session_group', 'int_sessions.session_group']},
            'emits': ['view_date'], 'emits_whoever': ['view_date']
        },
        indexes=[{'columns': ['view_date', 'app_id']}, {'columns': ['session_key']}]
    )
}}

with

visits as (
    select * from {{ ref('int_sessions') }}
    where {{ where_touched('session_group') }} and is_closed is not true
),

paths as (
    select * from {{ ref('int_batch_pages') }}
    where {{ where_touched('session_group') }}
),

-- a whole build reads the events again sooner than it keeps a copy of them
page_events as {{ 'not materialized' if not is_incremental() }} (
    select * from {{ ref('fct_events') }}
    where event_role = 'page_view' and page is not null and {{ where_touched('session_group') }}
),

-- a window, not a join: many views of one page in one session would be compared each with each
beside_a_path as (
    select session_group, event_id
    from (
        select
            session_group,
            event_id,
            count(*) filter (where event_id is null) over (
                partition by session_group, page
                order by at range between interval '10 seconds' preceding and interval '10 seconds' following
            ) as path_entries
        from (
            select session_group, page, occurred_at as at, event_id from page_events
            where session_group in (select session_group from paths)
            union all
            select session_group, page, viewed_at as at, null as event_id from paths
            where session_group in (select session_group from page_events)
        ) as tellings
    ) as counted
    where event_id is not null and path_entries > 0
),

loads as (
    select session_group, batch_id, name as page, {{ to_number('value') }} as load_ms, seen_at
    from {{ ref('int_batch_values') }}
    where kind = 'load' and name like '/%' and {{ where_touched('session_group') }}
),

-- an observed load time belongs to the last view of its page before it was sent; 0 and 1 ms are artefacts
placed as (
    select distinct on (loads.batch_id, loads.page, loads.seen_at, loads.load_ms)
        paths.batch_id,
        paths.path_position,
        loads.seen_at,
        loads.load_ms
    from loads
    inner join paths
        on loads.batch_id = paths.batch_id and loads.page = paths.page and loads.seen_at >= paths.viewed_at
    where loads.load_ms > 1
    order by
        loads.batch_id, loads.page, loads.seen_at, loads.load_ms, paths.viewed_at desc, paths.path_position desc
),

measured as (
    select distinct on (batch_id, path_position) *
    from placed
    order by batch_id, path_position, seen_at desc, load_ms
),

views as (
    select
        paths.session_group,
        md5('path|' || paths.batch_id || '|' || paths.path_position)::uuid as page_view_id,
        visits.session_key,
        visits.visitor_id,
        coalesce(paths.app_id, visits.app_id) as app_id,
        paths.page,
        paths.query_string,
        paths.viewed_at,
        paths.path_position,
        measured.load_ms,
        'path' as told_by
    from paths
    {{ join_visits('paths', 'viewed_at') }}
    left join measured
        on paths.batch_id = measured.batch_id and paths.path_position = measured.path_position
    union all
    -- a page event beside a path entry tells the same view
    select
        session_group,
        md5('event|' || event_id)::uuid as page_view_id,
        session_key,
        visitor_id,
        app_id,
        page,
        query_string,
        occurred_at as viewed_at,
        0 as path_position,
        load_ms,
        'event' as told_by
    from page_events
    where
        not exists (
            select from beside_a_path
            where
                beside_a_path.session_group = page_events.session_group
                and beside_a_path.event_id = page_events.event_id
        )
)

select
    -- ids
    session_group,
    page_view_id,
    session_key,
    visitor_id,
    app_id,

    -- what
    page,
    query_string,
    told_by,
    row_number() over in_session as view_number,

    -- times
    viewed_at,
    {{ utc_date('viewed_at') }} as view_date,

    -- measures
    extract(epoch from lead(viewed_at) over in_session - viewed_at) as seconds_on_page,
    load_ms
from views
window in_session as (partition by session_key order by viewed_at, path_position, page_view_id)
