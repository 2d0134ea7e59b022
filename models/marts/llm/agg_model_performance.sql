{{
    config(
        meta={
            'touched': {'request_date': ['fct_llm_requests.request_date']},
            'touched_type': 'date'
        }
    )
}}

with

outcomes as (
    {{ request_outcomes(where_touched('request_date')) }}
),

final as (
    {{ model_performance('outcomes', day='request_date') }}
)

select * from final
