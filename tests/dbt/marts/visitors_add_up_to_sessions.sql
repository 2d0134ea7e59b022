{{ config(tags=['nightly']) }}

-- Every visit is counted for one person, in total and by app.
{{ visitors_add_up_to_sessions() }}
