{{ config(tags=['nightly']) }}

-- Every load up to the bound of this target, none beyond it, none that is not published.
select ledger.load_id, ledger.published_seq
from {{ source('raw', 'loads') }} as ledger
inner join ops.bounds on bounds.target = '{{ target_mark() }}'
where
    (ledger.load_id in {{ published_loads() }}) <> coalesce(ledger.published_seq <= bounds.to_seq, false)
    or {{ is_published() }} <> coalesce(ledger.published_seq <= bounds.to_seq, false)
