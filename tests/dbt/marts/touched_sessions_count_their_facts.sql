-- sessions_count_their_facts for what a refresh touched: hourly, so no more than that is read.
{{ sessions_count_their_facts(touched(['session_group', 'int_sessions.session_group'])) }}
