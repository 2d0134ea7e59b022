-- visitors_add_up_to_sessions for what a refresh touched: hourly, so no more than that is read.
{{ visitors_add_up_to_sessions(touched(['fct_sessions.visitor_id'])) }}
