{{ config(tags=['nightly']) }}

-- The parameter of exactly that name, `+` and `%20` as spaces.
with

cases (url, expected) as (
    values
    ('/a?utm_source=newsletter', 'newsletter'),
    ('https://example.com/?x=1&utm_source=spring+sale%20now&y=2#end', 'spring sale now'),
    ('/a?my_utm_source=x', null),
    ('/a?utm_source=', null),
    ('/a?utm_source_id=4', null),
    ('/a', null),
    (null, null)
)

select *, {{ query_parameter('url', 'utm_source') }} as got from cases
where {{ query_parameter('url', 'utm_source') }} is distinct from expected
