{{ config(tags=['nightly']) }}

-- snake_case goes first. No id is longer than 255 characters: an index takes no longer one.
with

cases (metadata, expected) as (
    values
    (jsonb '{"workspace_id": "w1"}', 'w1'),
    (jsonb '{"workspaceId": "w2"}', 'w2'),
    (jsonb '{"workspaceId": "w2", "workspace_id": "w1"}', 'w1'),
    (jsonb '{"workspace_id": null, "workspaceId": "w2"}', 'w2'),
    (jsonb_build_object('workspace_id', repeat('w', 255)), repeat('w', 255)),
    (jsonb_build_object('workspace_id', repeat('w', 256), 'workspaceId', 'w2'), 'w2'),
    (jsonb '{}', null)
)

select *, {{ metadata_value('workspace_id', 'workspaceId') }} as got from cases
where {{ metadata_value('workspace_id', 'workspaceId') }} is distinct from expected
