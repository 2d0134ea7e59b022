-- What fails in a run, and what retention took away.

create table ops.run_failures (
    run_id text primary key,
    job text not null,
    error text not null,
    failed_at timestamptz not null default clock_timestamp()
);
create index on ops.run_failures (failed_at);
comment on table ops.run_failures is 'One row per Dagster run that failed for good. Written by the sensor run_failed, once a run.';
comment on column ops.run_failures.error is 'What the failed steps said, in one line.';

create table ops.retention_log (
    log_id bigint generated always as identity primary key,
    run_id uuid not null,
    record_class text not null,
    action text not null check (action in ('close', 'drop', 'reduce', 'delete')),
    relation text not null,
    before_date date not null,
    affected_rows bigint not null,
    freed_bytes bigint not null,
    done_at timestamptz not null default clock_timestamp()
);
create index on ops.retention_log (relation) where action = 'reduce';
comment on table ops.retention_log is 'One row per step of a retention run that took something away, written in the step''s own transaction. It holds names and numbers, nothing of what went.';
comment on column ops.retention_log.relation is 'Table or partition it went from; for close, ops.horizon.';
comment on column ops.retention_log.before_date is 'First UTC day that was kept.';
comment on column ops.retention_log.affected_rows is 'Rows dropped, deleted or reduced; visits closed.';
comment on column ops.retention_log.freed_bytes is 'Size of what was dropped with its indexes; the text deleted, elsewhere.';

create table history.closed_events (
    session_group text not null,
    event_id text not null,
    session_key uuid not null,
    retention_class text not null,
    occurred_at timestamptz not null,
    event jsonb not null,
    primary key (session_group, event_id)
);
create index on history.closed_events (retention_class, occurred_at);
comment on table history.closed_events is 'One row per audit or security event of a closed visit: their classes are kept longer than the days are open.';
comment on column history.closed_events.event is 'Every other column of marts.fct_events as it stood when the day was closed.';
create index on history.closed_visits (started_at);
create index on history.closed_requests (occurred_at);
create index on raw.rejects (received_at);
