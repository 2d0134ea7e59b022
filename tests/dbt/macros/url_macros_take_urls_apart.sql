{{ config(tags=['nightly']) }}

-- Full URLs, paths, and what is neither.
with

cases (url, path, query, host) as (
    values
    ('https://www.Example.com:8080/a/b?x=1&y=2#part', '/a/b', 'x=1&y=2', 'example.com'),
    ('http://name:secret@shop.example/cart', '/cart', null, 'shop.example'),
    ('https://example.com', null, null, 'example.com'),
    ('https://example.com?x=1', null, 'x=1', 'example.com'),
    ('https://example.com/?', '/', null, 'example.com'),
    ('android-app://com.google.android.gm/', '/', null, 'com.google.android.gm'),
    ('/pricing?plan=pro', '/pricing', 'plan=pro', null),
    ('/go?to=https://other.example/x', '/go', 'to=https://other.example/x', null),
    ('/docs#install', '/docs', null, null),
    ('', null, null, null),
    (null, null, null, null)
)

select
    *,
    {{ url_path('url') }} as got_path,
    {{ url_query('url') }} as got_query,
    {{ url_host('url') }} as got_host
from cases
where
    {{ url_path('url') }} is distinct from path
    or {{ url_query('url') }} is distinct from query
    or {{ url_host('url') }} is distinct from host
