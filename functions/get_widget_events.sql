declare
    first_day date;
    last_day date;
begin
    {{ settle_as_of() }}
    {{ check_days(7) }}
    {{ check_limit(10) }}
    return jsonb_build_object(
        'chatbot_id', app,
        'period_days', days,
        'events', (
            select coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'event_name', event_name, 'event_count', event_count, 'unique_sessions', unique_sessions
                    )
                    order by event_count desc, event_name
                ), '[]'
            )
            from (
                select
                    event_name,
                    sum(events)::bigint as event_count,
                    -- a visit over midnight counts once
                    (
                        sum(sessions)
                        - coalesce(sum(continued_sessions) filter (where event_date > first_day), 0)
                    )::bigint as unique_sessions
                from {{ stored(ref('agg_event_daily')) }}
                where app_id = app and event_date between first_day and last_day
                group by event_name
                order by event_count desc, event_name
                limit "limit"
            ) as counted
        )
    );
end
