-- Every read of raw asks of every row whether its person opted out. Nearly none did: a filter of a few kB says so at
-- once, and only of those it lets through is the list asked.

create table ops.opt_out_filter (
    only_row boolean primary key default true check (only_row),
    bits bytea not null default decode(repeat('00', 128), 'hex'),
    probe bigint not null default hashtextextended('', 0)
);
alter table ops.opt_out_filter alter column bits set storage external;
comment on table ops.opt_out_filter is 'A Bloom filter of the ids in ops.opt_outs, kept by triggers: an id whose bit is not set is not among them.';
comment on column ops.opt_out_filter.bits is 'A power of two of bits, the one of an id at hashtextextended(id, 0) modulo their number.';
comment on column ops.opt_out_filter.probe is 'What the empty text hashes to: on a server where it hashes to something else the filter says nothing.';

create function ops.rebuild_opt_out_filter() returns void
language sql set search_path = pg_catalog
as $$
    -- at least 32 bits an id
    with size as (
        select 8 * greatest(128, 2 ^ ceil(log(2, 4 * greatest(count(distinct subject_id), 1))))::bigint as bits
        from ops.opt_outs
    ),
    positions as (
        select distinct hashtextextended(subject_id, 0) & (size.bits - 1) as position
        from ops.opt_outs cross join size
    ),
    filled as (
        select position / 8 as byte_number, sum(1 << (position % 8)::integer) as value
        from positions
        group by byte_number
    )
    update ops.opt_out_filter
    set
        probe = default,
        bits = (
            select string_agg(decode(lpad(to_hex(coalesce(filled.value, 0)), 2, '0'), 'hex'), '' order by byte_number)
            from size
            cross join generate_series(0, size.bits / 8 - 1) as byte_number
            left join filled using (byte_number)
        )
$$;

create function ops.filter_opt_outs() returns trigger
language plpgsql set search_path = pg_catalog
as $$
declare
    filter bytea;
    positions bigint[];
    is_current boolean;
    one bigint;
begin
    -- whoever changes the list at the same time waits here, and then sees what this one added
    select bits, probe = hashtextextended('', 0) into filter, is_current from ops.opt_out_filter for update;
    if not exists (select from changed) then
        return null;
    elsif tg_op = 'INSERT' then
        select array_agg(distinct hashtextextended(subject_id, 0) & (8 * octet_length(filter) - 1))
        into positions
        from changed;
    end if;
    -- an id that is no longer listed leaves no bit; one in eight set is as many as spare a look into the list
    if positions is null or not is_current or bit_count(filter) + cardinality(positions) > octet_length(filter) then
        perform ops.rebuild_opt_out_filter();
        return null;
    end if;
    foreach one in array positions loop
        filter := set_bit(filter, one, 1);
    end loop;
    update ops.opt_out_filter set bits = filter;
    return null;
end
$$;

create function ops.is_opted_out(of_kind text, id text, first_at timestamptz, last_at timestamptz) returns boolean
-- as cheap as a look into the filter, which spares nearly all of its calls
language plpgsql stable parallel safe security definer cost 1 set search_path = pg_catalog
as $$
begin
    return exists (
        select from ops.opt_outs
        where kind = of_kind and subject_id = id and last_at >= opted_out_at and first_at < opted_in_at
    );
end
$$;
comment on function ops.is_opted_out is 'Whether an id was opted out at any time of a span.';

create trigger filter_added after insert on ops.opt_outs
referencing new table as changed for each statement execute function ops.filter_opt_outs();
create trigger filter_removed after delete on ops.opt_outs
referencing old table as changed for each statement execute function ops.filter_opt_outs();
create trigger filter_changed after update on ops.opt_outs
referencing old table as changed for each statement execute function ops.filter_opt_outs();

insert into ops.opt_out_filter default values;
select ops.rebuild_opt_out_filter();
