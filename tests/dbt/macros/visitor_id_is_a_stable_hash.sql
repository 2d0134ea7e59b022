{{ config(tags=['nightly']) }}

-- MD5 sums computed outside the database: a changed one would give every visitor a new id.
with

cases (user_id, anonymous_id, session_group, expected) as (
    values
    ('u1', 'anon-1', 'session:s1', uuid '6cc55e24-a677-bcc8-b25e-d1646e0527d2'),
    (null, 'anon-1', 'session:s1', uuid 'e29f2d2c-52d1-1b6c-fb81-fdad794f30b8'),
    (null, null, 'event:e1', uuid 'a8b603ac-3a3c-7ca2-43ba-82b2af79e82e')
)

select *, {{ visitor_id('user_id', 'anonymous_id', 'session_group') }} as got from cases
where {{ visitor_id('user_id', 'anonymous_id', 'session_group') }} is distinct from expected
