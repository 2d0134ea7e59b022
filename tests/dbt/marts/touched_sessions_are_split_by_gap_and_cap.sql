-- sessions_are_split_by_gap_and_cap for what a refresh touched: hourly, so no more than that is read.
{{ sessions_are_split_by_gap_and_cap(touched(['session_group', 'int_sessions.session_group'])) }}
