declare
    visitor uuid;
    skipped bigint;
begin
    {{ settle_as_of() }}
    {{ check_limit(50) }}
    {{ check_page() }}
    visitor := (
        select known.visitor_id from (
            {{ visitor_known_by('get_visitor_timeline.id') }}
        ) as known
    );
    return (
        with sessions as (
            select * from {{ stored(ref('fct_sessions')) }}
            where visitor_id = visitor and app_id = app and started_at <= as_of
        ),

        story as (
            select started_at as at, 0 as place, session_key, session_key as key, 'session_started' as type,
                jsonb_build_object(
                    'landingPage', landing_page, 'source', source, 'medium', medium, 'campaign', campaign,
                    'deviceType', device_type, 'browserName', browser_name, 'osName', os_name,
                    'durationSeconds', round(duration_seconds)::bigint, 'converted', converted
                ) as details
            from sessions
            {% for relation, type, at, key, details in [
                (ref('fct_page_views'), 'page_view', 'viewed_at', 'page_view_id', {
                    'page': 'page', 'secondsOnPage': 'seconds_on_page', 'loadMs': 'load_ms'
                }),
                (ref('fct_events'), 'event', 'occurred_at', "md5(event_id)::uuid", {
                    'eventId': 'event_id', 'eventName': 'event_name', 'eventCategory': 'event_category',
                    'pagePath': 'page', 'properties': 'properties'
                }),
                (ref('fct_goals'), 'goal', 'reached_at', 'goal_id', {
                    'goalName': 'goal_name', 'isConversion': 'is_conversion', 'value': 'value', 'currency': 'currency'
                }),
                (ref('fct_errors'), 'error', 'occurred_at', 'error_id', {
                    'errorType': 'error_type', 'pagePath': 'page', 'message': 'message'
                }),
                (ref('fct_llm_requests'), 'llm_request', 'requested_at', 'request_key', {
                    'model': 'model', 'featureId': 'feature_id', 'totalTokens': 'total_tokens', 'costUsd': 'cost_usd',
                    'status': 'status'
                })
            ] %}
            union all
            select facts.{{ at }}, {{ loop.index }}, facts.session_key, {{ key }}, '{{ type }}',
                jsonb_build_object(
                    {%- for name, column in details.items() %}
                    '{{ name }}', facts.{{ column }}{{ ',' if not loop.last }}
                    {%- endfor %}
                )
            from sessions
            inner join {{ stored(relation) }} as facts
                on sessions.session_group = facts.session_group and sessions.session_key = facts.session_key
            where facts.{{ at }} <= as_of
            {%- if type == 'event' %}
                -- page views, goals and errors are told as such
                and {{ is_product_event('facts.event_name') }}
                and not (facts.event_role = 'page_view' and facts.page is not null)
                and facts.event_role <> 'error'
                and not facts.is_conversion
            {%- endif %}
            {% endfor %}
        ),

        told as (
            select * from story
            order by at desc, place desc, key
            limit "limit" offset skipped
        )

        select jsonb_build_object(
            'funnelId', app,
            'id', get_visitor_timeline.id,
            'profile', (
                select {{ profile('get_visitor_timeline.id', 'visitors') }}
                from {{ stored(ref('agg_visitor_apps')) }} as visitors
                where visitors.visitor_id = visitor and visitors.app_id = app
            ),
            'page', get_visitor_timeline.page,
            'limit', "limit",
            'total', (select count(*) from story),
            'timeline', (
                select coalesce(
                    jsonb_agg(
                        jsonb_build_object(
                            'timestamp', {{ json_time('at') }}, 'type', type, 'sessionKey', session_key
                        ) || details
                        order by at desc, place desc, key
                    ), '[]'
                )
                from told
            )
        )
    );
end
