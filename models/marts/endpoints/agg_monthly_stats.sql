{{
    config(
        meta={'touched': {'month_start_date': ['session_month']}, 'touched_type': 'date'},
        pre_hook="{{ touch_periods('month') }}"
    )
}}

{{ period_stats('month') }}
