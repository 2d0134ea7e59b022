-- sessions_belong_to_whom_the_aliases_say for what a refresh touched: hourly, so no more than that is read.
{{ sessions_belong_to_whom_the_aliases_say(touched(['session_group', 'int_sessions.session_group'])) }}
