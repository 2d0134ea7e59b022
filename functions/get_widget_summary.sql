declare
    first_day date;
    last_day date;
begin
    {{ settle_as_of() }}
    {{ check_days(30) }}
    return (
        select jsonb_build_object(
            'chatbot_id', app,
            'period_days', days,
            'summary', jsonb_build_object(
                'total_sessions', coalesce(sum(total_sessions), 0)::bigint,
                'unique_visitors', (
                    select {{ unique_visitors('first_day') }}
                    from {{ stored(ref('agg_visitor_returns')) }}
                    where app_id = app and stat_date between first_day and last_day
                ),
                'total_conversations', coalesce(sum(total_conversations), 0)::bigint,
                'avg_session_duration_seconds',
                coalesce(round(sum(total_session_seconds) / nullif(sum(total_sessions), 0)), 0)::bigint,
                'conversion_rate',
                coalesce(round(100.0 * sum(total_conversations) / nullif(sum(total_sessions), 0), 2), 0)
            )
        )
        from {{ stored(ref('agg_daily_stats')) }}
        where app_id = app and stat_date between first_day and last_day
    );
end
