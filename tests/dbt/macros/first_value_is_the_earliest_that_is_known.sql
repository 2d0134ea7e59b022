{{ config(tags=['nightly']) }}

-- By time, then by content; nulls are no answer. A street told with its city stays with it: that of Oslo is not known.
with

told (kind, occurred_at, tie, city, street) as (
    values
    ('by time', timestamptz '2026-03-31 10:02+00', 'a', 'Rome', 'Corso'),
    ('by time', timestamptz '2026-03-31 10:00+00', 'z', null, 'Nowhere'),
    ('by time', timestamptz '2026-03-31 10:01+00', 'z', 'Oslo', null),
    ('by content', timestamptz '2026-03-31 10:00+00', 'b', 'Rome', 'Corso'),
    ('by content', timestamptz '2026-03-31 10:00+00', 'a', 'Lima', 'Union'),
    ('unknown', timestamptz '2026-03-31 10:00+00', 'a', null, null)
),

addresses as (
    select
        *,
        case when city is not null then array[city, street] end as address
    from told
),

expected (kind, city, street) as (
    values ('by time', 'Oslo', null), ('by content', 'Lima', 'Union'), ('unknown', null, null)
),

got as (
    select kind, {{ first_value('city') }} as city, ({{ first_value('address') }})[2] as street
    from addresses
    group by kind
)

select * from expected
left join got using (kind)
where (got.city, got.street) is distinct from (expected.city, expected.street)
