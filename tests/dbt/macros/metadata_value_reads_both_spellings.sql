{{ config(tags=['nightly']) }}

-- snake_case goes first.
with

cases (metadata, expected) as (
    values
    (jsonb '{"workspace_id": "w1"}', 'w1'),
    (jsonb '{"workspaceId": "w2"}', 'w2'),
    (jsonb '{"workspaceId": "w2", "workspace_id": "w1"}', 'w1'),
    (jsonb '{"workspace_id": null, "workspaceId": "w2"}', 'w2'),
    (jsonb '{}', null)
)

select *, {{ metadata_value('workspace_id', 'workspaceId') }} as got from cases
where {{ metadata_value('workspace_id', 'workspaceId') }} is distinct from expected
