declare
    days integer;
    first_day date;
    last_day date;
begin
    {{ settle_as_of() }}
    "range" := coalesce("range", '30d');
    if "range" not in ('7d', '30d', '90d') then
        raise invalid_parameter_value using message = format('range must be 7d, 30d or 90d, not %s', "range");
    end if;
    days := rtrim("range", 'd')::integer;
    {{ check_days(30) }}
    {{ check_limit(50) }}
    return (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'source', ranked.source,
                    'medium', ranked.medium,
                    'campaign', ranked.campaign,
                    'sessions', ranked.sessions,
                    'revenue', ranked.revenue
                )
                order by
                    ranked.sessions desc, ranked.revenue desc,
                    ranked.source collate "C", ranked.medium collate "C", ranked.campaign collate "C"
            ), '[]'
        )
        from (
            select
                stats.source,
                stats.medium,
                stats.campaign,
                sum(stats.sessions)::bigint as sessions,
                round(coalesce(sum(stats.revenue_usd), 0), 2) as revenue
            from {{ stored(ref('agg_traffic_sources')) }} as stats
            where stats.app_id = app and stats.session_date between first_day and last_day
            group by stats.source, stats.medium, stats.campaign
            order by
                sessions desc, revenue desc,
                stats.source collate "C", stats.medium collate "C", stats.campaign collate "C"
            limit "limit"
        ) as ranked
    );
end
