{{ config(materialized='view') }}

with

kept_out as (
    select * from {{ ref('stg_kept_out') }}
)

select
    stream,
    {{ utc_date('received_at') }} as received_date,
    reason,
    count(*) as records
from kept_out
group by stream, {{ utc_date('received_at') }}, reason
