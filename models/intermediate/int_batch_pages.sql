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
restored as (
    select
        batches.batch_id,
        coalesce(max(place), 0) as first_own_page
    from batches
    cross join lateral generate_series(batches.shared_pages + 2, cardinality(batches.path_timings)) as place
    where batches.path_timings[place] < batches.path_timings[place - 1]
    group by batches.batch_id
)

select
    {{ owner_group('snapshots') }} as session_group,
    snapshots.batch_id,
    place as path_position,
    coalesce({{ url_path('batches.path_sequence[place]') }}, '/') as page,
    {{ url_query('batches.path_sequence[place]') }} as query_string,
    case
        when place < coalesce(restored.first_own_page, 0) then batches.started_at
        else batches.started_at + {{ milliseconds('coalesce(batches.path_timings[place], 0)') }}
    end as viewed_at,
    snapshots.user_id,
    snapshots.anonymous_id,
    snapshots.app_id
from snapshots
inner join batches using (batch_id)
left join restored using (batch_id)
left join merged on snapshots.session_group = merged.session_group
-- a page belongs to whoever's snapshot shows it first
cross join lateral generate_series(
    greatest(snapshots.pages_before, batches.shared_pages) + 1, cardinality(snapshots.path_sequence)
) as place
