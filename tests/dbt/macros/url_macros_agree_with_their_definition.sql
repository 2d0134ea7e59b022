{{ config(tags=['nightly']) }}

-- What the URL macros do with string functions is what regular expressions say of every URL made of these pieces.
with

urls as (
    select url_scheme || authority || url_path || query || fragment as url
    from
        unnest(array[
            '', 'https://', 'http://', 'HTTPS://', 'ftp+x.1://', 'https:/', 'https:', '//', '1https://', E'\nhttps://'
        ]) as schemes (url_scheme)
    cross join
        unnest(array[
            '', 'www.Example.com', 'WWW.a.b:80', 'n@h.x', 'n:p@q@h', '@', ':', 'www.', 'é.example', E'a\nb', 'a&utm_x=1'
        ]) as authorities (authority)
    cross join unnest(array['', '/', '//', '/a/b', '/a@b:c', '/&utm_x=2', '/ü/www.']) as paths (url_path)
    cross join
        unnest(array[
            '', '?', '?utm_x=a', '?x=1&utm_x=b+c%20d', '?utm_x=&utm_x=e', '?utm_x=f&&utm_x=g&y', '?my_utm_x=h',
            '&utm_x=i', '?a?utm_x=j', '??utm_x=k', '?to=https://o.example/@?utm_x=l', '?utm_x=m&utm_x=',
            '?utm_x=n=o&utm_x'
        ]) as queries (query)
    cross join unnest(array['', '#', '#part', '#a?utm_x=p&utm_x=q', '#a#b']) as fragments (fragment)
),

taken_apart as (
    select
        url,
        {{ url_path('url') }} as path,
        {{ url_host('url') }} as host,
        {{ query_parameter('url', 'utm_x') }} as parameter,
        nullif(
            regexp_replace(split_part(split_part(url, '?', 1), '#', 1), '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*', ''), ''
        ) as defined_path,
        regexp_replace(
            lower(substring(url from '^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/@?#]*@)?([^/:?#]+)')), '^www\.', ''
        ) as defined_host,
        nullif(
            replace(
                replace(substring(url from '^[^?#]*\?(?:[^#]*&)?utm_x=([^&#]*)'), '+', ' '), '%20', ' '
            ), ''
        ) as defined_parameter
    from urls
)

select *
from taken_apart
where
    path is distinct from defined_path
    or host is distinct from defined_host
    or parameter is distinct from defined_parameter
