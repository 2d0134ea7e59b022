{{ config(tags=['nightly']) }}

-- By time, then by content; nulls are no answer.
with

told (kind, occurred_at, tie, city) as (
    values
    ('by time', timestamptz '2026-03-31 10:00+00', 'z', null),
    ('by time', timestamptz '2026-03-31 10:01+00', 'z', 'Oslo'),
    ('by time', timestamptz '2026-03-31 10:02+00', 'a', 'Rome'),
    ('by content', timestamptz '2026-03-31 10:00+00', 'b', 'Rome'),
    ('by content', timestamptz '2026-03-31 10:00+00', 'a', 'Lima'),
    ('unknown', timestamptz '2026-03-31 10:00+00', 'a', null)
),

expected (kind, city) as (
    values ('by time', 'Oslo'), ('by content', 'Lima'), ('unknown', null)
),

got as (
    select kind, {{ first_value('city') }} as city
    from told
    group by kind
)

select * from expected
left join got using (kind)
where got.city is distinct from expected.city
