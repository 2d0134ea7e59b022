{{ config(tags=['nightly']) }}

-- User agents as Apple, Google and Mozilla document them.
with

cases (user_agent, expected) as (
    values
    ('Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148', 'mobile'),
    ('Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148', 'tablet'),
    ('Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/124.0 Mobile Safari/537.36', 'mobile'),
    ('Mozilla/5.0 (Linux; Android 14; SM-X810) AppleWebKit/537.36 Chrome/124.0 Safari/537.36', 'tablet'),
    ('Mozilla/5.0 (Android 14; Mobile; rv:125.0) Gecko/125.0 Firefox/125.0', 'mobile'),
    ('Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/124.0 Safari/537.36', 'desktop'),
    ('Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.4 Safari/605.1.15', 'desktop'),
    (null, null)
)

select *, {{ device_type_of('user_agent') }} as got from cases
where {{ device_type_of('user_agent') }} is distinct from expected
