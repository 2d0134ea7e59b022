{{
    config(
        meta={'touched': {'session_group': ['session_group']}},
        indexes=[{'columns': ['session_group']}]
    )
}}

with

snapshots as (
    select * from {{ ref('int_batch_snapshots') }}
    where {{ where_touched('session_group') }}
),

batches as (
    select * from {{ ref('int_batches') }}
    where {{ where_touched('session_group') }}
),

merged as (
    select * from {{ ref('int_merged_groups') }}
    where {{ where_touched('session_group') }}
),

-- where timings go down the batch was restored: what stands before counts from an earlier start, here unknown
steps as (
    select
        batch_id,
        shared_pages,
        path_timings[shared_pages + 1:cardinality(path_timings) - 1] as timings_before,
        path_timings[shared_pages + 2:] as timings
    from batches
),

restored as (
    select
        steps.batch_id,
        max(steps.shared_pages + 1 + told.step) as first_own_page
    from steps
    cross join lateral unnest(steps.timings_before, steps.timings) with ordinality as told (timing_before, timing, step)
    where told.timing < told.timing_before
    group by steps.batch_id
),

-- a page belongs to whoever's snapshot shows it first
shown as (
    select
        snapshots.*,
        batches.started_at as batch_started_at,
        batches.path_sequence as batch_pages,
        batches.path_timings as batch_timings,
        greatest(snapshots.pages_before, batches.shared_pages) as pages_known,
        cardinality(snapshots.path_sequence) as pages_shown
    from snapshots
    inner join batches using (batch_id)
),

-- cut out at once: a subscript walks the array from its start
new_pages as (
    select
        shown.*,
        batch_pages[pages_known + 1:pages_shown] as pages,
        batch_timings[pages_known + 1:pages_shown] as timings
    from shown
)

select
    {{ owner_group('new_pages') }} as session_group,
    new_pages.batch_id,
    (new_pages.pages_known + told.step)::integer as path_position,
    coalesce({{ url_path('told.page') }}, '/') as page,
    {{ url_query('told.page') }} as query_string,
    case
        when new_pages.pages_known + told.step < coalesce(restored.first_own_page, 0) then new_pages.batch_started_at
        else new_pages.batch_started_at + {{ milliseconds('coalesce(told.timing, 0)') }}
    end as viewed_at,
    new_pages.user_id,
    new_pages.anonymous_id,
    new_pages.app_id
from new_pages
left join restored using (batch_id)
left join merged on new_pages.session_group = merged.session_group
cross join lateral unnest(new_pages.pages, new_pages.timings) with ordinality as told (page, timing, step)
