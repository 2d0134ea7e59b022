{{ config(tags=['nightly']) }}

-- Every visit stands in exactly one day of one app, with all it counts.
{{ days_add_up_to_sessions() }}
