{{ config(tags=['nightly']) }}

-- md5 of the row's text, `(m,app,a,a)` and `("m 1",app,"a,b",w)`; a name takes apart into what it was made of.
with

series (series_key, expected) as (
    select {{ series_key() }}, expected::uuid
    from (
        values
        ('m', 'app', 'a', 'a', 'bd787323d7c63e183222b0f4862c0e00'),
        ('m 1', 'app', 'a,b', 'w', '14d37044fe5685c297d9221e2498c14b')
    ) as named (metric, scope, app_id, scope_value, expected)
),

named as (
    select *, {{ series_day('series_key', "date '2026-03-31'") }} as series_day from series
)

select * from named
where
    series_key <> expected
    or {{ series_of('series_day') }} <> series_key
    or {{ day_of('series_day') }} <> '2026-03-31'
    or series_day not like '%{{ ' 2026-03-31' }}'
