{{ config(tags=['nightly']) }}

-- Both ends belong to a visit; between visits, and in another group, there is none. A visit may go over midnight,
-- where one stretch of time ends and another begins: its rows are found once.
with

visits (session_group, started_at, ended_at, visit) as (
    values
    ('a', timestamptz '2026-03-31 10:00+00', timestamptz '2026-03-31 10:20+00', 1),
    ('a', timestamptz '2026-03-31 11:00+00', timestamptz '2026-03-31 11:00+00', 2),
    ('a', timestamptz '2026-03-31 23:50+00', timestamptz '2026-04-01 23:49+00', 3)
),

rows_at (owner_group, at, expected) as (
    values
    ('a', timestamptz '2026-03-31 10:00+00', 1),
    ('a', timestamptz '2026-03-31 10:20+00', 1),
    ('a', timestamptz '2026-03-31 11:00+00', 2),
    ('a', timestamptz '2026-03-31 10:30+00', null),
    ('a', timestamptz '2026-03-31 23:50+00', 3),
    ('a', timestamptz '2026-03-31 23:59:59.999999+00', 3),
    ('a', timestamptz '2026-04-01 00:00+00', 3),
    ('a', timestamptz '2026-04-01 23:49+00', 3),
    ('a', timestamptz '2026-04-01 23:50+00', null),
    ('b', timestamptz '2026-03-31 10:10+00', null)
),

found as (
    select rows_at.owner_group, rows_at.at, min(visits.visit) as visit, count(*) as times
    from rows_at
    {{ join_visits('rows_at', 'at', 'owner_group') }}
    group by rows_at.owner_group, rows_at.at
)

select rows_at.*, found.visit as got, found.times
from rows_at
left join found using (owner_group, at)
where found.visit is distinct from rows_at.expected or found.times > 1
