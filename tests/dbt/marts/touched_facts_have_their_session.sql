-- every_fact_has_its_session for what a refresh touched: hourly, so no more than that is read.
{{ facts_have_their_session(touched(['session_group', 'int_sessions.session_group'])) }}
