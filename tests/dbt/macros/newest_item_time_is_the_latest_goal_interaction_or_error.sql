{{ config(tags=['nightly']) }}

with

cases (started_at, goal_events, llm_interactions, error_events, expected) as (
    values
    (
        timestamptz '2026-03-01 10:00Z', jsonb '{"a": "2026-03-01T10:05Z"}',
        jsonb '[{"timestamp": "2026-03-01T10:06Z"}]',
        jsonb '[{"time": 420000}, {"time": 1}]', timestamptz '2026-03-01 10:07Z'
    ),
    ('2026-03-01 10:00Z', '{"a": "2026-03-01T10:05Z", "b": "2026-03-01T10:08Z"}', '[]', '[]', '2026-03-01 10:08Z'),
    ('2026-03-01 10:00Z', '{}', '[{"timestamp": "2026-03-01T10:06Z"}]', '[]', '2026-03-01 10:06Z'),
    ('2026-03-01 10:00Z', '{}', '[]', '[]', null)
)

select *, {{ newest_item_time() }} as got from cases
where {{ newest_item_time() }} is distinct from expected
