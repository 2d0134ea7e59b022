-- The three schemas the loader owns, and the roles dbt grants to.
create schema if not exists raw;
create schema if not exists history;
create schema if not exists ops;

do $$
declare
    role_name text;
begin
    foreach role_name in array array[
        'tidemark_loader', 'tidemark_transformer', 'tidemark_analyst',
        'tidemark_bi', 'tidemark_workspace_reader'
    ] loop
        if not exists (select from pg_roles where rolname = role_name) then
            -- Roles are shared by all databases of a server: another migration may create it first.
            begin
                execute format('create role %I nologin', role_name);
            exception when duplicate_object or unique_violation then null;
            end;
        end if;
    end loop;
end
$$;

comment on schema raw is 'What arrived, append-only: one table per stream, the load ledger, the rejects.';
comment on schema history is 'What retention folded away, at the grain of raw identities.';
comment on schema ops is 'Bounds, work list, mark, clock: how far the models have seen.';
