{{ config(tags=['nightly']) }}

-- The later of each key, at one time the greater snapshot; a map that is missing adds nothing.
with

cases (name, ours, theirs, expected) as (
    values
    (
        'later',
        '{"plan": ["2026-03-02T10:00:00+00", 1, "free"], "team": ["2026-03-02T12:00:00+00", 1, "a"]}'::jsonb,
        '{"plan": ["2026-03-02T11:00:00+00", 1, "pro"], "org": ["2026-03-02T09:00:00+00", 1, "o"]}'::jsonb,
        '{"plan": "pro", "team": "a", "org": "o"}'::jsonb
    ),
    (
        'at one time',
        '{"plan": ["2026-03-02T11:00:00+00", 9, "free"]}',
        '{"plan": ["2026-03-02T12:00:00+01", 10, "pro"]}',
        '{"plan": "pro"}'
    ),
    ('nothing', '{"plan": ["2026-03-02T10:00:00+00", 1, "free"]}', null, '{"plan": "free"}'),
    ('nothing at all', null, null, null)
),

told as (
    select cases.*, {{ later_told('ours', 'theirs') }} as got
    from cases
),

-- their values alone
plain as (
    select
        told.name,
        told.expected,
        (select jsonb_object_agg(pair.key, pair.value -> 2) from jsonb_each(told.got) as pair) as got
    from told
)

select * from plain
where got is distinct from expected
