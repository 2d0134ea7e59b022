-- What a pull from another database remembers, and the workspaces only a pull brings.

create table ops.pulls (
    pull_id integer generated always as identity primary key,
    source text not null,
    mapping text not null,
    watermark timestamptz,
    rows_pulled bigint not null default 0,
    pulled_at timestamptz,
    unique (source, mapping)
);
comment on table ops.pulls is 'One row per mapping pulled from a source. Deleting it makes the next pull start from the beginning.';
comment on column ops.pulls.source is 'The source''s stable name: --source, else host/database.';
comment on column ops.pulls.watermark is 'The newest watermark pulled, never later than the source''s clock. Moves in the transaction that loads the rows.';
comment on column ops.pulls.rows_pulled is 'Rows handed to the loader so far, rejected ones included.';
comment on column ops.pulls.pulled_at is 'When a pull last read the source to its end.';

create table ops.pulled_rows (
    pull_id integer not null references ops.pulls on delete cascade,
    row_hash uuid not null,
    watermark timestamptz,
    primary key (pull_id, row_hash)
);
create index on ops.pulled_rows (pull_id, watermark);
comment on table ops.pulled_rows is 'Rows already pulled that the next pull reads again: those within the overlap, and those without a watermark.';
comment on column ops.pulled_rows.row_hash is 'A pure function of the row''s content, its key included: nothing of the row can be read from it.';

create table raw.workspaces (
    load_id bigint not null,
    line_number bigint not null,
    received_at timestamptz not null,
    content_hash uuid not null,
    workspace_id text not null,
    app_id text,
    workspace_name text,
    plan text,
    subscription_status text,
    created_at timestamptz,
    updated_at timestamptz,
    properties jsonb not null
);
create index on raw.workspaces (workspace_id);
create index on raw.workspaces using brin (load_id);
comment on table raw.workspaces is 'One row per version of a workspace, with its subscriptions, as it was pulled.';
comment on column raw.workspaces.plan is 'The plan of its newest subscription, else what the workspace itself says.';
comment on column raw.workspaces.subscription_status is 'The status of its newest subscription; a status of the workspace''s own is in properties.';
comment on column raw.workspaces.properties is 'Every other column; workspace_subscriptions holds all subscriptions, oldest first.';
