{{ config(tags=['nightly']) }}

-- 25 referrers: one with two sessions, 24 with one; b to t are the 19 first of those by name.
with

sessions as (
    select 'app' as app_id, date '2026-03-31' as session_date, chr(96 + letter) as referrer
    from generate_series(1, 24) as letter
    union all
    select 'app', date '2026-03-31', 'z' from generate_series(1, 2)
    union all
    select 'app', date '2026-03-31', null
),

got as (
    {{ top_values('sessions', 'referrer', 'referrers') }}
)

select * from got
where
    jsonb_array_length(top) <> 20
    or top -> 0 <> jsonb '{"name": "z", "count": 2}'
    or top -> 1 <> jsonb '{"name": "a", "count": 1}'
    or top -> 19 <> jsonb '{"name": "s", "count": 1}'
    or kind <> 'referrers'
    or stat_date <> date '2026-03-31'
union all
select null, null, 'no row', null
where not exists (select from got)
