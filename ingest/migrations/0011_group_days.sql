-- Raw has a partition a day: on which days a group's rows were received says which partitions a refresh must read.

create table ops.group_days (
    session_group text not null,
    received_date date not null,
    primary key (session_group, received_date)
);
comment on table ops.group_days is 'One row per session group and UTC day on which session batches, events, LLM requests or identify calls of it were received: an index over raw, kept up with ops.group_links.';

insert into ops.group_days (session_group, received_date)
select session_group, (received_at at time zone 'UTC')::date from raw.session_batches
union
select session_group, (received_at at time zone 'UTC')::date from raw.events
union
select session_group, (received_at at time zone 'UTC')::date from raw.llm_requests
union
select session_group, (received_at at time zone 'UTC')::date from raw.identifies;
