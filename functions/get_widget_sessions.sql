declare
    opened timestamptz := '-infinity';
    until timestamptz;
    skipped bigint;
    total bigint;
begin
    {{ settle_as_of() }}
    {{ check_limit(20) }}
    {{ check_page() }}
    {{ find_page(ref('fct_sessions'), 'started_at', sessions_by_day()) }}
    return jsonb_build_object(
        'chatbot_id', app,
        'page', page,
        'limit', "limit",
        'total', total,
        'sessions', (
            select coalesce(jsonb_agg(body order by started_at desc, session_key), '[]')
            from (
                select
                    sessions.started_at,
                    sessions.session_key,
                    -- more columns than one call takes arguments
                    jsonb_build_object(
                        'id', sessions.session_key,
                        'chatbot_id', sessions.app_id,
                        'session_id', {{ session_id_of('sessions.session_group') }},
                        'anonymous_id', sessions.anonymous_id,
                        'user_id', sessions.user_id,
                        'user_email', null,
                        'user_name', users.name,
                        'user_metadata', coalesce(users.traits, '{}'),
                        'started_at', {{ json_time('sessions.started_at') }},
                        'ended_at', {{ json_time('sessions.ended_at') }},
                        'duration_seconds', round(sessions.duration_seconds)::bigint,
                        'referrer', sessions.referrer_domain,
                        'landing_page', sessions.landing_page,
                        'utm_source', sessions.utm_source,
                        'utm_medium', case when sessions.utm_source is not null then nullif(sessions.medium, 'None') end,
                        'utm_campaign',
                        case when sessions.utm_source is not null then nullif(sessions.campaign, 'None') end
                    ) || jsonb_build_object(
                        'browser_name', sessions.browser_name,
                        'browser_version', sessions.browser_version,
                        'os_name', sessions.os_name,
                        'os_version', sessions.os_version,
                        'device_type', sessions.device_type,
                        'screen_width', sessions.screen_width,
                        'screen_height', sessions.screen_height,
                        'ip_address', null,
                        'country_code', sessions.country_code,
                        'city', sessions.city,
                        'messages_sent', sessions.messages_sent,
                        'messages_received', sessions.messages_received,
                        'widget_opened_count', sessions.widget_opened_count,
                        'widget_minimized_count', sessions.widget_minimized_count,
                        'avg_response_time_ms', round(sessions.mean_response_ms)::bigint,
                        'had_conversation', sessions.had_conversation,
                        'completed_pre_chat_form', sessions.completed_pre_chat_form,
                        'triggered_by', sessions.triggered_by
                    ) as body
                from (
                    select * from {{ stored(ref('fct_sessions')) }}
                    where app_id = app and started_at <= until
                    order by started_at desc, session_key
                    limit "limit" offset skipped
                ) as sessions
                left join {{ stored(ref('dim_users')) }} as users on sessions.user_id = users.user_id
            ) as bodies
        )
    );
end
