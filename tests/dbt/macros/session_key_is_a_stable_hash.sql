{{ config(tags=['nightly']) }}

-- MD5 sums computed outside the database: a changed one would give every visit a new key.
with

cases (session_group, started_at, expected) as (
    values
    ('session:s1', timestamptz '2026-04-01 00:00:00+00', uuid '4c6bd452-0363-3429-55ac-5ab9d4ebc80a'),
    ('session:s1', timestamptz '2026-04-01 02:00:00+02', uuid '4c6bd452-0363-3429-55ac-5ab9d4ebc80a'),
    ('session:s1', timestamptz '2026-04-01 00:00:00.25+00', uuid 'f45586b2-0065-21a4-2641-ba0219fcc5a4'),
    ('user:u1', timestamptz '2026-04-01 00:00:00+00', uuid 'e5342ed9-e7f7-e5a1-39e8-5f40ddb38517')
)

select *, {{ session_key('session_group', 'started_at') }} as got from cases
where {{ session_key('session_group', 'started_at') }} is distinct from expected
