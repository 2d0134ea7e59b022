declare
    -- events of earlier days are purged
    opened timestamptz := ops.horizon();
    until timestamptz;
    skipped bigint;
    total bigint;
begin
    {{ settle_as_of() }}
    {{ check_limit(50) }}
    {{ check_page() }}
    {{ find_page(
        ref('fct_events'), 'occurred_at', events_by_day(), is_product_event('event_name')
    ) }}
    return jsonb_build_object(
        'funnelId', app,
        'page', page,
        'limit', "limit",
        'total', total,
        'events', (
            select coalesce(jsonb_agg(body order by occurred_at desc, event_id, session_key), '[]')
            from (
                select
                    events.occurred_at,
                    events.event_id,
                    events.session_key,
                    jsonb_build_object(
                        'eventId', events.event_id,
                        'eventName', events.event_name,
                        'eventCategory', events.event_category,
                        'timestamp', {{ json_time('events.occurred_at') }},
                        'sessionId', {{ session_id_of('events.session_group') }},
                        'anonymousId', events.anonymous_id,
                        'profileId', events.visitor_id,
                        'displayName', visitors.display_name,
                        'pagePath', events.page,
                        'pageTitle', events.page_title,
                        'utmSource', events.utm_source,
                        'utmMedium', events.utm_medium,
                        'utmCampaign', events.utm_campaign,
                        'isConversion', events.is_conversion,
                        'revenue', events.revenue,
                        'currency', events.currency,
                        'deviceType', events.device_type,
                        'browserName', events.browser_name,
                        'osName', events.os_name,
                        'countryCode', events.country_code,
                        'properties', events.properties
                    ) as body
                from (
                    select * from {{ stored(ref('fct_events')) }}
                    where
                        app_id = app
                        and occurred_at between opened and until
                        and {{ is_product_event('event_name') }}
                    order by occurred_at desc, event_id, session_key
                    limit "limit" offset skipped
                ) as events
                left join {{ stored(ref('agg_visitor_apps')) }} as visitors
                    on events.visitor_id = visitors.visitor_id and events.app_id = visitors.app_id
            ) as bodies
        )
    );
end
