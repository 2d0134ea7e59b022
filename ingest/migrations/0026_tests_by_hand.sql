-- dbt's tests change no view and no seed: run by hand, they need not make the next refresh build them.

drop function ops.settle_bounds(text);
create function ops.settle_bounds(for_target text, builds boolean default true) returns void
language plpgsql set search_path = pg_catalog
as $$
begin
    if ops.refresh_is_running(for_target) then
        raise exception 'a refresh of target % is running: wait for it, or see "make status"', for_target;
    end if;
    insert into ops.bounds (target) values (for_target) on conflict do nothing;
    update ops.bounds set to_seq = completed_seq where target = for_target and to_seq <> completed_seq;
    delete from ops.model_state where builds and target = for_target and not incremental;
end
$$;
comment on function ops.settle_bounds(text, boolean) is 'Sets how far staging reads back to the mark and, before dbt builds, forgets how seeds and views were built; refused while a refresh runs.';
