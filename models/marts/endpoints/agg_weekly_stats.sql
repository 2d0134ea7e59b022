{{
    config(
        meta={'touched': {'week_start_date': ['session_week']}, 'touched_type': 'date'},
        pre_hook="{{ touch_periods('week') }}"
    )
}}

{{ period_stats('week') }}
