{{
    config(
        meta={
            'touched': {'request_date': ['whoever:fct_llm_requests.request_date']},
            'touched_type': 'date'
        }
    )
}}

{{ model_performance(where_touched('request_date'), day='request_date') }}
