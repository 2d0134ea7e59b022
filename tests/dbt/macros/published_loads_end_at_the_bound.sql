{{ config(tags=['nightly']) }}

-- Every load up to the bound of this target, none beyond it, none that is not published.
select loads.load_id, loads.published_seq
from {{ source('raw', 'loads') }} as loads
cross join (select to_seq from ops.bounds where target = '{{ target_mark() }}') as bounds
where
    (loads.load_id in {{ published_loads() }})
    <> coalesce(loads.published_seq <= bounds.to_seq, false)
