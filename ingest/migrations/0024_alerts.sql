-- What was noticed, who is to hear of it, and what was sent: alerts, each told once per channel.

create table ops.alerts (
    alert_id bigint generated always as identity primary key,
    alert_key uuid not null unique,
    source text not null check (source in ('anomaly', 'budget', 'run')),
    kind text not null,
    rule text not null,
    scope text not null,
    first_at timestamptz not null,
    until timestamptz not null check (until >= first_at),
    severity text not null check (severity in ('info', 'warning', 'critical')),
    title text not null,
    explanation text not null,
    details json not null default '{}',
    resolved_at timestamptz,
    raised_at timestamptz not null
);
create index on ops.alerts (source, rule, scope, until);
comment on table ops.alerts is 'One row per thing to tell: an anomaly, a budget''s crossing, a failed run. An anomaly that overlaps a row of its rule and scope is that row, however late data move it.';
comment on column ops.alerts.alert_key is 'Hash of source, rule, scope and the first instant as first seen; never changes.';
comment on column ops.alerts.rule is 'Rule that fired; of a budget its name, period and threshold.';
comment on column ops.alerts.scope is 'What it is about, such as the app; of a budget the first day of the period.';
comment on column ops.alerts.until is 'The first instant that is no longer part of it.';
comment on column ops.alerts.details is 'Name and value, in the order they are shown.';
comment on column ops.alerts.raised_at is 'What "now" was when it was noticed.';

create table ops.alert_messages (
    message_id bigint generated always as identity primary key,
    idempotency_key uuid not null unique,
    channel text not null,
    form text not null check (form in ('single', 'group', 'digest', 'test')),
    content json not null,
    composed_at timestamptz not null default clock_timestamp(),
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default clock_timestamp(),
    claimed_by text,
    claimed_until timestamptz,
    delivered_to text[] not null default '{}',
    sent_at timestamptz,
    given_up_at timestamptz,
    last_error text
);
create index on ops.alert_messages (channel, message_id) where sent_at is null and given_up_at is null;
comment on table ops.alert_messages is 'One row per message to a channel: what it says, fixed when it was composed, and how sending it went. The log of what was sent.';
comment on column ops.alert_messages.idempotency_key is 'Sent with the message: who gets it twice, after a kill between sending and recording, can tell.';
comment on column ops.alert_messages.claimed_until is 'Until then nobody else sends it; a sender that was killed leaves it to expire.';
comment on column ops.alert_messages.delivered_to is 'Recipients who have it already, of a channel that sends to each by himself.';

create table ops.alert_deliveries (
    alert_id bigint not null references ops.alerts on delete cascade,
    channel text not null,
    delivery text not null check (delivery in ('at_once', 'after_quiet_hours', 'digest')),
    due_at timestamptz not null,
    message_id bigint references ops.alert_messages on delete set null,
    primary key (alert_id, channel)
);
create index on ops.alert_deliveries (channel, due_at) where message_id is null;
create index on ops.alert_deliveries (message_id);
comment on table ops.alert_deliveries is 'One row per alert and channel that is to have it: the routes (seed alert_routes) as they were when it was noticed. The key is why no channel is told twice.';
comment on column ops.alert_deliveries.due_at is 'Not before: the end of quiet hours, the next digest.';
