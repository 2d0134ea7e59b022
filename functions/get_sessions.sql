declare
    opened timestamptz := '-infinity';
    until timestamptz;
    skipped bigint;
    total bigint;
begin
    {{ settle_as_of() }}
    {{ check_limit(50) }}
    {{ check_page() }}
    {{ find_page(ref('fct_sessions'), 'started_at', sessions_by_day()) }}
    return jsonb_build_object(
        'funnelId', app,
        'page', page,
        'limit', "limit",
        'total', total,
        'sessions', (
            select coalesce(jsonb_agg(body order by started_at desc, session_key), '[]')
            from (
                select
                    sessions.started_at,
                    sessions.session_key,
                    jsonb_build_object(
                        'id', sessions.session_key,
                        'sessionId', {{ session_id_of('sessions.session_group') }},
                        'anonymousId', sessions.anonymous_id,
                        'profileId', sessions.visitor_id,
                        'displayName', visitors.display_name,
                        'startedAt', {{ json_time('sessions.started_at') }},
                        'endedAt', {{ json_time('sessions.ended_at') }},
                        'durationSeconds', round(sessions.duration_seconds)::bigint,
                        'landingPage', sessions.landing_page,
                        'exitPage', sessions.exit_page,
                        'pageViews', sessions.pages_visited,
                        'eventsCount', sessions.event_count,
                        'firstSource', sessions.source,
                        'firstMedium', sessions.medium,
                        'firstCampaign', sessions.campaign,
                        'converted', sessions.converted,
                        'conversionValue', sessions.conversion_value,
                        'deviceType', sessions.device_type,
                        'browserName', sessions.browser_name,
                        'osName', sessions.os_name,
                        'countryCode', sessions.country_code,
                        'city', sessions.city
                    ) as body
                from (
                    select * from {{ stored(ref('fct_sessions')) }}
                    where app_id = app and started_at <= until
                    order by started_at desc, session_key
                    limit "limit" offset skipped
                ) as sessions
                left join {{ stored(ref('agg_visitor_apps')) }} as visitors
                    on sessions.visitor_id = visitors.visitor_id and sessions.app_id = visitors.app_id
            ) as bodies
        )
    );
end
