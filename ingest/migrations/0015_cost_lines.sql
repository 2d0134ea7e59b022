-- A cost line is replaced by its id: on which days its versions were received says which partitions a refresh must read.

create table ops.cost_days (
    cost_id text not null,
    received_date date not null,
    primary key (cost_id, received_date)
);
comment on table ops.cost_days is 'One row per cost line and UTC day on which a version of it was received: an index over raw, kept up with ops.group_links.';

insert into ops.cost_days (cost_id, received_date)
select distinct cost_id, (received_at at time zone 'UTC')::date from raw.costs;

create index on raw.costs (cost_id);
