declare
    first_day date;
    last_day date;
begin
    {{ settle_as_of() }}
    {{ check_days(30) }}
    return jsonb_build_object(
        'chatbot_id', app,
        'period_days', days,
        'devices', {{ breakdown('device_type', 'type') }},
        'browsers', {{ breakdown('browser_name', 'name') }},
        'operating_systems', {{ breakdown('os_name', 'name') }}
    );
end
