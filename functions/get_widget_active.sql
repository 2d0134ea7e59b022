begin
    {{ settle_as_of() }}
    return jsonb_build_object(
        'chatbot_id', app,
        'active_sessions', (
            -- a visit that goes on after as_of has had activity shortly before it too: gaps are shorter
            select count(*)
            from {{ stored(ref('fct_sessions')) }}
            where
                app_id = app
                and started_at <= as_of
                and started_at > as_of - interval '{{ var("session_cap_hours") }} hours {{ var("session_gap_minutes") }} minutes'
                and ended_at > as_of - interval '{{ var("session_gap_minutes") }} minutes'
        ),
        'timestamp', {{ body_time('as_of') }}
    );
end
