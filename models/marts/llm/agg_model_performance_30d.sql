{{ config(materialized='view') }}

with

-- of the requests themselves: percentiles do not add up over days
outcomes as (
    {{ request_outcomes(
        'request_date between ' ~ utc_date(as_of()) ~ ' - 29 and ' ~ utc_date(as_of())
    ) }}
),

final as (
    {{ model_performance('outcomes') }}
)

select * from final
