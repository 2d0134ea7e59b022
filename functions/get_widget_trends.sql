declare
    first_day date;
    last_day date;
begin
    {{ settle_as_of() }}
    {{ check_days(30) }}
    return jsonb_build_object(
        'chatbot_id', app,
        'period_days', days,
        'trends', (
            select coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'stat_date', stats.stat_date,
                        'sessions', stats.total_sessions,
                        'conversations', stats.total_conversations,
                        'messages', stats.total_messages_sent + stats.total_messages_received,
                        'conversion_rate', stats.conversion_rate
                    )
                    order by stats.stat_date
                ), '[]'
            )
            from {{ stored(ref('agg_daily_stats')) }} as stats
            where stats.app_id = app and stats.stat_date between first_day and last_day
        )
    );
end
