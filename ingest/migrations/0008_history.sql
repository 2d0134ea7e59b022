-- What is kept of closed days, at the grain of raw identities so that a later sign-in still finds its visits.

create table ops.closings (
    horizon timestamptz primary key,
    published_seq bigint not null,
    closed_at timestamptz not null default clock_timestamp()
);
comment on table ops.closings is 'One row per move of the horizon. What a later load tells of a day before it came too late.';
comment on column ops.closings.published_seq is 'The last load the marts had seen when the days were closed.';

alter table raw.session_batches add column carried boolean not null default false;
alter table raw.events add column carried boolean not null default false;
alter table raw.llm_requests add column carried boolean not null default false;
create index session_batches_carried on raw.session_batches (session_group) where carried;
create index events_carried on raw.events (session_group) where carried;
create index llm_requests_carried on raw.llm_requests (session_group) where carried;
comment on column raw.session_batches.carried is 'Of a closed day, and kept as long as a visit that is still open stands on it.';
comment on column raw.events.carried is 'Of a closed day, and kept as long as a visit that is still open stands on it.';
comment on column raw.llm_requests.carried is 'Of a closed day, and kept as long as a visit that is still open stands on it.';

create table history.closed_visits (
    session_group text not null,
    session_key uuid not null,
    started_at timestamptz not null,
    ended_at timestamptz not null,
    user_id text,
    anonymous_id text,
    app_id text not null,
    visit jsonb not null,
    primary key (session_group, session_key)
);
create index on history.closed_visits (session_key);
comment on table history.closed_visits is 'One row per visit of a closed day that no open day continues.';
comment on column history.closed_visits.user_id is 'The user the visit itself named; whom its anonymous id became is looked up anew.';
comment on column history.closed_visits.visit is 'Every other column of marts.fct_sessions as it stood when the day was closed.';

create table history.session_tails (
    session_group text primary key,
    run_started_at timestamptz not null,
    visit_started_at timestamptz not null,
    last_activity_at timestamptz not null
);
comment on table history.session_tails is 'One row per session group with a run that crosses the horizon, or ended so shortly before it that an open day may continue it. Splitting resumes here.';
comment on column history.session_tails.run_started_at is 'Where the run began: the cap cuts at so many days after it.';
comment on column history.session_tails.visit_started_at is 'Where the run''s last visit began: what the group holds from there on is still open.';

create table history.closed_merges (
    session_group text primary key,
    merged_group text not null,
    anonymous_id text not null,
    user_id text not null,
    signed_in_at timestamptz not null,
    batch_id uuid not null
);
comment on table history.closed_merges is 'One row per anonymous session group whose sign-in, in mid-batch, lies in a closed day.';

create table history.closed_edges (
    session_group text not null,
    anonymous_id text not null,
    user_id text not null,
    signed_in_at timestamptz not null,
    evidence text not null,
    primary key (session_group, anonymous_id, user_id, signed_in_at)
);
create index on history.closed_edges (anonymous_id);
comment on table history.closed_edges is 'One row per evidence from a closed day that an anonymous id is a user. Kept until erased.';

create table history.closed_identities (
    session_group text not null,
    anonymous_id text,
    user_id text,
    first_at timestamptz not null,
    unique nulls not distinct (session_group, anonymous_id, user_id)
);
comment on table history.closed_identities is 'One row per session and pair of ids it was told with in closed days: a user who shows up later is evidence too.';

create table history.closed_counters (
    session_group text not null,
    session_key uuid not null,
    counter text not null,
    by_events bigint not null,
    by_increments bigint not null,
    session_total bigint,
    amount bigint not null,
    primary key (session_group, session_key, counter)
);
comment on table history.closed_counters is 'One row per closed visit and counter: a total of the whole session still to come is set off against it.';

create table history.closed_requests (
    session_group text not null,
    request_key uuid not null,
    session_key uuid not null,
    occurred_at timestamptz not null,
    request jsonb not null,
    primary key (session_group, request_key)
);
comment on table history.closed_requests is 'One row per LLM request of a closed visit, told by browser, server or both.';
comment on column history.closed_requests.request is 'Every other column of intermediate.int_llm_requests, what the visit told of workspace, project, team, plan and app filled in.';

create table history.closed_metric_values (
    metric text not null,
    app_id text not null,
    bucket_at timestamptz not null,
    bucket_date date not null,
    metric_value jsonb not null,
    primary key (bucket_date, metric, app_id, bucket_at)
);
comment on table history.closed_metric_values is 'One row per bucket of a watched metric in a closed day.';
comment on column history.closed_metric_values.metric_value is 'Every other column of marts.agg_metric_values as it stood when the day was closed.';
