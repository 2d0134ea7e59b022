-- What keeps a refresh from reading or making more than it must.

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

alter table ops.model_state add column incremental boolean not null default true;
comment on table ops.model_state is 'Checksum of each model and seed with all it is made of, as last built. Empty where a test of it failed: made again.';
comment on column ops.model_state.incremental is 'Built whole when the checksum changes, with what stands on it; a seed or view is made anew, alone.';

-- dbt called by hand builds to the mark, never further, and never beside a refresh. What seeds and views it leaves
-- behind is not known: the next refresh makes them anew.
create or replace function ops.settle_bounds(for_target text) returns void
language plpgsql set search_path = pg_catalog
as $$
begin
    if ops.refresh_is_running(for_target) then
        raise exception 'a refresh of target % is running: wait for it, or see "make status"', for_target;
    end if;
    insert into ops.bounds (target) values (for_target) on conflict do nothing;
    update ops.bounds set to_seq = completed_seq where target = for_target and to_seq <> completed_seq;
    delete from ops.model_state where target = for_target and not incremental;
end
$$;
comment on function ops.settle_bounds(text) is 'Sets how far staging reads back to the mark, and forgets how seeds and views were built; refused while a refresh runs.';
