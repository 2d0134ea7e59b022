{{ config(tags=['nightly']) }}

with

cases (started_at, llm_interactions, expected) as (
    values
    (timestamptz '2026-03-01 10:00Z', jsonb '[{"timestamp": "2026-03-01T09:00Z"}]', timestamptz '2026-03-01 10:00Z'),
    (null, '[{"timestamp": "2026-03-01T09:00Z"}, {"timestamp": "2026-03-01T08:00Z"}]', '2026-03-01 09:00Z'),
    (null, '[]', null)
)

select *, {{ batch_time() }} as got from cases
where {{ batch_time() }} is distinct from expected
