-- What closed days leave behind of conversions and campaigns: who looks back a year must still see what brought them.

create table history.closed_conversions (
    session_group text not null,
    conversion_id uuid not null,
    session_key uuid not null,
    goal_name text not null,
    told_by text not null,
    reached_at timestamptz not null,
    value numeric,
    currency text,
    value_usd numeric,
    primary key (session_group, conversion_id)
);
create index on history.closed_conversions (session_key);
comment on table history.closed_conversions is 'One row per conversion of a closed visit.';
comment on column history.closed_conversions.value_usd is 'At the rate its day had when it was closed.';

create table history.closed_campaign_events (
    session_group text not null,
    session_key uuid not null,
    event_date date not null,
    source text not null,
    medium text not null,
    campaign text not null,
    measure text not null,
    events bigint not null,
    value_usd numeric,
    primary key (session_group, session_key, event_date, source, medium, campaign, measure)
);
comment on table history.closed_campaign_events is 'One row per closed visit, day, campaign and measure: the events that count there.';
