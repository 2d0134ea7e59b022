-- Least privilege, applied by every migration that finds it changed. May be run again at any time; what it does not
-- grant it does not take away, but for what the roles must never have. Needs the owner, no superuser.
-- dbt grants the marts: macros/access.sql and `+grants` in dbt_project.yml.

-- Nobody but the owner changes raw by hand; partitions are reached through their parents alone.
do $$
declare
    relation record;
begin
    for relation in
        select pg_class.oid::regclass as name, relnamespace::regnamespace::text as folder
        from pg_class
        where relnamespace in ('raw'::regnamespace, 'history'::regnamespace, 'ops'::regnamespace)
            and relkind in ('r', 'p') and not relispartition
    loop
        execute format('revoke all on %s from public', relation.name);
        execute format('grant select on %s to tidemark_transformer', relation.name);
        if relation.folder = 'raw' then
            execute format('grant select, insert on %s to tidemark_loader', relation.name);
        elsif relation.folder = 'ops' then
            execute format('grant insert, update, delete on %s to tidemark_transformer', relation.name);
        end if;
    end loop;
end
$$;

-- The loader writes raw and what it must remember of it, and reads nothing above.
grant usage on schema raw, ops to tidemark_loader;
grant update on raw.loads, raw.rejects to tidemark_loader;
grant usage on all sequences in schema raw to tidemark_loader;
grant select, insert, update, delete on ops.pulls, ops.pulled_rows to tidemark_loader;
grant select on ops.schema_migrations, ops.tombstones, ops.hash_key_check to tidemark_loader;

-- The transformer builds: it reads raw, keeps the books of refreshes, and owns what dbt makes.
grant usage on schema raw, history, ops to tidemark_transformer;
grant usage on all sequences in schema ops to tidemark_transformer;
revoke insert, update, delete on
    ops.schema_migrations, ops.app_access, ops.super_admins, ops.access_state, ops.horizon, ops.closings,
    ops.tombstones, ops.hash_key_check, ops.privacy_certificates, ops.privacy_answers, ops.privacy_choices,
    ops.opt_outs, ops.opt_out_filter, ops.truncated_addresses
    from tidemark_transformer;

-- Readers: how far the marts are, and nothing else outside them.
grant usage on schema ops to tidemark_analyst, tidemark_bi, tidemark_workspace_reader;
grant select on ops.bounds, ops.horizon to tidemark_analyst, tidemark_bi, tidemark_workspace_reader;
grant select on ops.refreshes to tidemark_analyst, tidemark_bi;
grant select on ops.model_state, ops.touched to tidemark_analyst;

-- These see tables their callers may not.
revoke all on function
    ops.reader_apps(), ops.is_super_admin(), ops.is_opted_out(text, text, timestamptz, timestamptz) from public;
grant execute on function ops.is_opted_out(text, text, timestamptz, timestamptz)
    to tidemark_analyst, tidemark_bi, tidemark_transformer;
grant execute on function ops.reader_apps(), ops.is_super_admin()
    to tidemark_analyst, tidemark_bi, tidemark_workspace_reader, tidemark_transformer;

-- These change a load that is not published yet, and no other row.
revoke all on function
    ops.refuse_rows(text, bigint, timestamptz, text[]), ops.refuse_rejects(bigint, bigint[]) from public;
grant execute on function
    ops.refuse_rows(text, bigint, timestamptz, text[]), ops.refuse_rejects(bigint, bigint[]) to tidemark_loader;
