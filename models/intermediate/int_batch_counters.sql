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

counts as (
    select
        batch_id, snapshot_number, session_group, seen_at,
        'interaction' as kind, pair.key as name, pair.value::bigint as reading
    from snapshots
    cross join lateral jsonb_each_text(interaction_summary) as pair
    union all
    select
        batch_id, snapshot_number, session_group, seen_at,
        'feature' as kind, pair.key as name, pair.value::bigint as reading
    from snapshots
    cross join lateral jsonb_each_text(feature_interactions) as pair
),

-- a batch contributes what its counters rose above the state it was restored or rotated from
risen as (
    select
        counts.*,
        greatest(
            max(counts.reading) over (
                partition by counts.batch_id, counts.kind, counts.name
                order by counts.snapshot_number rows between unbounded preceding and 1 preceding
            ),
            (
                case counts.kind when 'feature' then batches.base_features else batches.base_interactions end
                ->> counts.name
            )::bigint,
            0
        ) as reading_before
    from counts
    inner join batches using (batch_id)
)

select
    {{ owner_group('risen') }} as session_group,
    risen.batch_id,
    risen.kind,
    risen.name,
    risen.seen_at,
    risen.reading - risen.reading_before as rise
from risen
left join merged on risen.session_group = merged.session_group
where risen.reading > risen.reading_before
