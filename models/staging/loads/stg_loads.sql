with

loads as (
    select * from {{ source('raw', 'loads') }}
    where load_id in {{ published_loads() }}
)

select
    load_id,
    stream,

    -- a load's rows are received when it starts
    started_at as received_at,

    -- measures
    records,
    loaded,
    rejected
from loads
