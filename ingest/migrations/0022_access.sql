-- Who reads which rows of the marts: what a reader's session says of itself, and what the warehouse knows of it.

create table ops.app_access (
    app_id text not null,
    workspace_id text not null,
    granted_at timestamptz not null default clock_timestamp(),
    primary key (app_id, workspace_id)
);
create index on ops.app_access (workspace_id);
comment on table ops.app_access is 'One row per app and workspace that may read all of the app''s rows that name no workspace, its daily numbers among them. Written by an administrator.';

create table ops.super_admins (
    user_id text primary key,
    granted_at timestamptz not null default clock_timestamp()
);
comment on table ops.super_admins is 'One row per user who, as a workspace reader, sees every row. Written by an administrator.';

create function ops.reader_claims() returns jsonb
language sql stable parallel safe set search_path = pg_catalog
as $$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
comment on function ops.reader_claims() is 'Claims of the token a PostgREST or Supabase checked; null where there is none. Where there are claims, they alone say who reads: settings of the session are not asked.';

create function ops.reader_user() returns text
language sql stable parallel safe set search_path = pg_catalog
as $$
    select nullif(
        case
            when ops.reader_claims() is null then current_setting('app.user_id', true)
            else ops.reader_claims() ->> 'sub'
        end, ''
    )
$$;
comment on function ops.reader_user() is 'The user who reads: the claim sub, else the setting app.user_id; null where neither says.';

create function ops.reader_visitor() returns uuid
language sql stable parallel safe set search_path = pg_catalog
as $$ select md5('user:' || ops.reader_user())::uuid $$;
comment on function ops.reader_visitor() is 'The visitor id of the user who reads.';

-- What a user may change of their own token (user_metadata) is never asked.
create function ops.reader_workspaces() returns text[]
language sql stable parallel safe set search_path = pg_catalog
as $$
    select array(
        select told.workspace_id
        from (
            select current_setting('app.workspace_id', true) as workspace_id
            where ops.reader_claims() is null
            union
            select claim.value #>> '{}'
            from (
                values (ops.reader_claims()), (ops.reader_claims() -> 'app_metadata')
            ) as claims (said)
            cross join lateral (
                select claims.said -> 'workspace_id' as value
                union all
                select jsonb_path_query(claims.said, 'lax $.workspace_ids[*]')
            ) as claim
        ) as told
        where told.workspace_id <> ''
    )
$$;
comment on function ops.reader_workspaces() is 'The workspaces that read: the claims workspace_id and workspace_ids, at the top or in app_metadata, else the setting app.workspace_id; empty where nothing says.';

create function ops.reader_apps() returns text[]
language sql stable parallel safe security definer set search_path = pg_catalog
as $$
    select array(
        select distinct app_access.app_id from ops.app_access
        where app_access.workspace_id = any (ops.reader_workspaces())
    )
$$;
comment on function ops.reader_apps() is 'The apps that the workspaces of the reader may see whole (ops.app_access).';

create function ops.is_super_admin() returns boolean
language sql stable parallel safe security definer set search_path = pg_catalog
as $$
    select
        exists (select from ops.super_admins where user_id = ops.reader_user())
        or coalesce(
            ops.reader_claims() #> '{app_metadata,is_super_admin}' = 'true'
            or ops.reader_claims() #> '{app_metadata,role}' = '"super_admin"', false
        )
$$;
comment on function ops.is_super_admin() is 'Whether the reader sees every row: listed in ops.super_admins, or marked so in the part of the token that only the server writes (app_metadata). No setting of the session says it.';

create table ops.access_state (
    only_row boolean primary key default true check (only_row),
    checksum text not null default '',
    applied_at timestamptz
);
insert into ops.access_state default values;
comment on table ops.access_state is 'Checksum of the script that grants what each role may do, as last applied.';

create function ops.unprotected_marts(folder text) returns table (relation text, problem text)
language sql stable set search_path = pg_catalog
as $$
    with marts as (
        select
            oid,
            relname::text as relation,
            relkind,
            relrowsecurity,
            has_table_privilege('tidemark_workspace_reader', oid, 'select') as is_granted,
            coalesce('security_invoker=true' = any (reloptions), false) as reads_as_its_reader,
            exists (
                select from pg_attribute
                where attrelid = pg_class.oid and not attisdropped
                    and attname in ('workspace_id', 'app_id', 'user_id', 'visitor_id')
            ) as names_a_tenant,
            exists (
                select from pg_policy
                where polrelid = pg_class.oid and 'tidemark_workspace_reader'::regrole = any (polroles)
            ) as has_policy
        from pg_class
        where relnamespace = to_regnamespace(quote_ident(folder)) and relkind in ('r', 'p', 'v', 'm', 'f')
    )

    select relation, 'names a tenant and has no row-level security' from marts
    where relkind = 'r' and names_a_tenant and not (relrowsecurity and has_policy)
    union all
    select relation, 'is granted to workspace readers and restricts no rows' from marts
    where is_granted and not (
        relkind = 'r' and relrowsecurity and has_policy or relkind = 'v' and reads_as_its_reader
    )
    order by 1, 2
$$;
comment on function ops.unprotected_marts(text) is 'One row per relation of a schema of marts that would show a workspace reader another''s rows, or that names a tenant and has no policy. None is right.';
