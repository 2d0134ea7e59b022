-- How far each target's models have seen, what they still owe, and the one clock.
-- `target` is 'prod' or the schema prefix of an analyst's own build.

create table ops.horizon (
    only_row boolean primary key default true check (only_row),
    horizon timestamptz not null default '-infinity'
);
insert into ops.horizon default values;
comment on table ops.horizon is 'The first instant still open: earlier days are purged and closed. Moves only when a purge succeeds.';

create table ops.bounds (
    target text primary key,
    completed_seq bigint not null default 0,
    to_seq bigint not null default 0,
    as_of timestamptz
);
comment on table ops.bounds is 'One row per target: the mark (completed_seq), and how far staging reads now (to_seq).';

create table ops.refreshes (
    refresh_id bigint generated always as identity primary key,
    target text not null,
    from_seq bigint not null,
    to_seq bigint not null,
    as_of timestamptz not null,
    started_at timestamptz not null default clock_timestamp(),
    completed_at timestamptz,
    failed_at timestamptz,
    phase text not null default 'bounds',
    error text,
    host text not null,
    pid integer not null,
    backend_pid integer not null,
    tests_failed integer,
    touched bigint,
    rebuilt text[] not null default '{}'
);
create index on ops.refreshes (target, refresh_id desc);
comment on table ops.refreshes is 'One row per refresh. completed_at tells when all marts agreed.';

create table ops.touched (
    target text not null,
    kind text not null,
    key text not null
);
create index on ops.touched (target, kind, key);
comment on table ops.touched is 'The work list: keys whose rows the incremental marts must replace. Kept until the mark moves; a key may stand in it more than once.';

create table ops.model_state (
    target text not null,
    model text not null,
    checksum text not null,
    built_at timestamptz not null default clock_timestamp(),
    primary key (target, model)
);
comment on table ops.model_state is 'Checksum of each incremental model with all it is made of, as last built.';

create table ops.rebuilds (
    target text not null,
    model text not null,
    primary key (target, model)
);
comment on table ops.rebuilds is 'Models the running refresh builds whole: new ones, changed ones and what stands on them.';

create table ops.group_links (
    kind text not null check (kind in ('batch', 'request', 'message', 'anonymous')),
    key text not null,
    session_group text not null,
    primary key (kind, key, session_group)
);
create index on ops.group_links (session_group);
comment on table ops.group_links is 'Which session groups mention a batch, request, message or anonymous id: an index over raw that finds what a new row bears on.';

create table ops.linked_seq (
    only_row boolean primary key default true check (only_row),
    published_seq bigint not null default 0
);
insert into ops.linked_seq default values;
comment on table ops.linked_seq is 'The load up to which ops.group_links is complete.';

create function ops.clock() returns timestamptz
language sql stable parallel safe set search_path = pg_catalog
as $$ select coalesce(nullif(current_setting('tidemark.as_of', true), '')::timestamptz, now()) $$;
comment on function ops.clock() is 'What time it is: the setting tidemark.as_of (the demo''s database has one), else now.';

create function ops.as_of(for_target text default 'prod') returns timestamptz
language sql stable parallel safe set search_path = pg_catalog
as $$ select coalesce((select as_of from ops.bounds where target = for_target), ops.clock()) $$;
comment on function ops.as_of(text) is 'What "now" is for models, functions and tests: fixed when a refresh starts.';

create function ops.to_seq(for_target text) returns bigint
language sql stable parallel safe set search_path = pg_catalog
as $$ select coalesce((select to_seq from ops.bounds where target = for_target), 0) $$;

create function ops.horizon() returns timestamptz
language sql stable parallel safe set search_path = pg_catalog
as $$ select horizon from ops.horizon $$;

-- One partition a day and stream, made ahead; never inside a load.
create function ops.make_partitions(days_ahead integer default 7, first_day date default (now() at time zone 'UTC')::date)
returns integer
language plpgsql set search_path = pg_catalog
as $$
declare
    parent text;
    days date[];
    day date;
    child text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('tidemark.partitions'));
    foreach parent in array array[
        'session_batches', 'llm_requests',
        'events_analytics', 'events_audit', 'events_security', 'events_performance'
    ] loop
        -- the days ahead, and any day whose rows came before its partition
        execute format(
            'select array(
                select generate_series(%L::date, %L::date, interval ''1 day'')::date
                union select distinct (received_at at time zone ''UTC'')::date from raw.%I order by 1
            )',
            first_day, first_day + days_ahead, parent || '_default'
        ) into days;
        foreach day in array days loop
            child := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
            continue when to_regclass(format('raw.%I', child)) is not null;
            execute format('create table raw.%I (like raw.%I including defaults including constraints)', child, parent);
            -- Rows that arrived before their partition was made move into it.
            execute format(
                'with moved as (delete from raw.%I where received_at >= %L and received_at < %L returning *)
                 insert into raw.%I select * from moved',
                parent || '_default', day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC', child
            );
            execute format(
                'alter table raw.%I attach partition raw.%I for values from (%L) to (%L)',
                parent, child, day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC'
            );
            made := made + 1;
        end loop;
    end loop;
    return made;
end
$$;
comment on function ops.make_partitions(integer, date) is 'Makes the day partitions of every raw stream from first_day to days_ahead later, and of every day that had to land in a default partition; returns how many were missing.';

create function ops.refresh_is_running(for_target text) returns boolean
language sql stable set search_path = pg_catalog
as $$
    select exists (
        select from pg_locks
        where locktype = 'advisory' and granted and objsubid = 2
            and database = (select oid from pg_database where datname = current_database())
            and classid::bigint = hashtext('tidemark.refresh')::bigint & 4294967295
            and objid::bigint = hashtext(for_target)::bigint & 4294967295
    )
$$;
comment on function ops.refresh_is_running(text) is 'Whether somebody holds the target''s refresh lock: pg_advisory_lock(hashtext(''tidemark.refresh''), hashtext(target)).';

-- dbt called by hand builds to the mark, never further, and never beside a refresh.
create function ops.settle_bounds(for_target text) returns void
language plpgsql set search_path = pg_catalog
as $$
begin
    if ops.refresh_is_running(for_target) then
        raise exception 'a refresh of target % is running: wait for it, or see "make status"', for_target;
    end if;
    insert into ops.bounds (target) values (for_target) on conflict do nothing;
    update ops.bounds set to_seq = completed_seq where target = for_target and to_seq <> completed_seq;
end
$$;
comment on function ops.settle_bounds(text) is 'Sets how far staging reads back to the mark; refused while a refresh runs.';
