-- Raw streams, append-only. `load_id` names the load (raw.loads), `line_number` the line of its file
-- (1-based; the element's number in a JSON array), `element` the place inside that record's array (0 where
-- it holds one thing). `session_group` is set here and never changes. `content_hash` is a pure function of
-- what the record says, so an exact duplicate has the same one in every load.

create table raw.loads (
    load_id bigint generated always as identity primary key,
    stream text not null,
    file text not null,
    checksum text not null,
    copy_number integer not null default 0,
    bytes bigint not null,
    records bigint not null default 0,
    loaded bigint not null default 0,
    rejected bigint not null default 0,
    mended bigint not null default 0,
    loaded_by text not null default current_user,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    seconds numeric,
    published_seq bigint unique,
    unique (stream, checksum, copy_number)
);
comment on table raw.loads is 'One row per load: one committed ingest of one file. Its row is written first, so a second copy of a file waits here and then loads nothing.';
comment on column raw.loads.checksum is 'SHA-256 of the file''s bytes, hexadecimal.';
comment on column raw.loads.copy_number is '0, or how often --force loaded the same bytes again.';
comment on column raw.loads.mended is 'Records that loaded with NUL characters or lone surrogates replaced.';
comment on column raw.loads.published_seq is 'Grows in commit order: what a reader with a mark may not have seen has a greater number.';

create sequence raw.published_seq owned by raw.loads.published_seq;

create table raw.rejects (
    reject_id bigint generated always as identity primary key,
    load_id bigint not null references raw.loads,
    stream text not null,
    file text not null,
    line_number bigint not null,
    element integer not null default 0,
    reason text not null,
    field text,
    record bytea not null,
    received_at timestamptz not null
);
create index on raw.rejects (load_id);
comment on table raw.rejects is 'One row per record, or element of a record''s array, that could not be loaded: where it stood, why, and its bytes.';

create table raw.session_batches (
    load_id bigint not null,
    line_number bigint not null,
    received_at timestamptz not null,
    session_group text not null,
    content_hash uuid not null,
    session_id text not null,
    batch_id uuid not null,
    batch_seq bigint not null,
    user_id text,
    anonymous_id text,
    app_id text,
    started_at timestamptz,
    ended_at timestamptz,
    updated_at timestamptz,
    path_sequence text[] not null,
    path_timings bigint[] not null,
    interaction_summary jsonb not null,
    goal_events jsonb not null,
    feature_interactions jsonb not null,
    page_load_times jsonb not null,
    error_events jsonb not null,
    llm_interactions jsonb not null,
    metadata jsonb not null,
    properties jsonb not null
) partition by range (received_at);
create index on raw.session_batches (session_group);
create index on raw.session_batches using brin (load_id);
comment on table raw.session_batches is 'One row per snapshot of a session batch as its browser or server sent it.';
comment on column raw.session_batches.path_timings is 'Milliseconds, one per entry of path_sequence.';

create table raw.events (
    load_id bigint not null,
    line_number bigint not null,
    element integer not null,
    received_at timestamptz not null,
    retention_class text not null,
    session_group text not null,
    content_hash uuid not null,
    event_id text not null,
    event_name text not null,
    event_category text,
    app_id text,
    session_id text,
    anonymous_id text,
    user_id text,
    occurred_at timestamptz not null,
    page_url text,
    page_title text,
    referrer text,
    landing_page text,
    utm_source text,
    utm_medium text,
    utm_campaign text,
    utm_term text,
    utm_content text,
    user_agent text,
    ip_address inet,
    device_type text,
    browser_name text,
    browser_version text,
    os_name text,
    os_version text,
    screen_width integer,
    screen_height integer,
    country_code text,
    city text,
    workspace_id text,
    project_id text,
    team_id text,
    org_id text,
    plan text,
    is_conversion boolean,
    revenue numeric,
    currency text,
    properties jsonb not null
) partition by list (retention_class);
create table raw.events_analytics partition of raw.events for values in ('analytics') partition by range (received_at);
create table raw.events_audit partition of raw.events for values in ('audit') partition by range (received_at);
create table raw.events_security partition of raw.events for values in ('security') partition by range (received_at);
create table raw.events_performance partition of raw.events for values in ('performance') partition by range (received_at);
create index on raw.events (session_group);
create index on raw.events using brin (load_id);
comment on table raw.events is 'One row per event as its producer sent it.';
comment on column raw.events.event_id is 'The producer''s id, else the content hash.';
comment on column raw.events.retention_class is 'analytics, audit, security or performance: how long it is kept (seed retention_classes).';

create table raw.llm_requests (
    load_id bigint not null,
    line_number bigint not null,
    element integer not null,
    received_at timestamptz not null,
    session_group text not null,
    content_hash uuid not null,
    record_type text not null check (record_type in ('request', 'feedback')),
    request_id text,
    message_id text,
    chat_id text,
    app_id text,
    session_id text,
    anonymous_id text,
    user_id text,
    occurred_at timestamptz not null,
    model text,
    model_name text,
    provider text,
    input_tokens bigint,
    output_tokens bigint,
    total_tokens bigint,
    cached_tokens bigint,
    cache_write_tokens bigint,
    reasoning_tokens bigint,
    latency_ms bigint,
    status_code integer,
    status text,
    finish_reason text,
    error_message text,
    stopped boolean,
    regenerated boolean,
    was_routed boolean,
    router_confidence numeric,
    baseline_model text,
    feature_id text,
    workspace_id text,
    project_id text,
    team_id text,
    org_id text,
    plan text,
    cost_usd numeric,
    rating numeric,
    feedback text,
    properties jsonb not null
) partition by range (received_at);
create index on raw.llm_requests (session_group);
create index on raw.llm_requests (request_id) where request_id is not null;
create index on raw.llm_requests (message_id) where message_id is not null;
create index on raw.llm_requests using brin (load_id);
comment on table raw.llm_requests is 'One row per LLM request, or per feedback on one, as its producer sent it.';
comment on column raw.llm_requests.cost_usd is 'Cost as reported by the producer, US dollars.';

-- Where a load lands when no partition was made for its day: it never fails for that.
create table raw.session_batches_default partition of raw.session_batches default;
create table raw.llm_requests_default partition of raw.llm_requests default;
create table raw.events_analytics_default partition of raw.events_analytics default;
create table raw.events_audit_default partition of raw.events_audit default;
create table raw.events_security_default partition of raw.events_security default;
create table raw.events_performance_default partition of raw.events_performance default;
