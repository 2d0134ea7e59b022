declare
    first_day date;
    last_day date;
begin
    {{ settle_as_of() }}
    {{ check_days(30) }}
    return jsonb_build_object(
        'chatbot_id', app,
        'period_days', days,
        'utm_sources', {{ breakdown('utm_source', 'source') }},
        'referrers', {{ breakdown('referrer_domain', 'domain') }}
    );
end
