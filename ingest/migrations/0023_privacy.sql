-- Erasures, opt-outs and what was done for whom; nothing here but a running erasure and an opt-out names a person.

alter table raw.loads add column refused bigint not null default 0;
comment on column raw.loads.refused is 'Records refused because the person was erased: records = loaded + rejected + refused.';

create table ops.tombstones (
    id_hash text primary key,
    erased_at timestamptz not null default clock_timestamp()
);
comment on table ops.tombstones is 'One row per id of an erased person, as a hash nobody can make without the key: ingest refuses what names it.';

create table ops.hash_key_check (
    only_row boolean primary key default true check (only_row),
    key_hash text not null
);
comment on table ops.hash_key_check is 'Hash of a constant under the key of the tombstones: another key would find none of them, and is refused.';

create table ops.privacy_certificates (
    certificate_id bigint generated always as identity primary key,
    action text not null check (action in ('erase', 'export', 'opt_out', 'opt_in', 'truncate_addresses')),
    token text,
    state text not null default 'done' check (state in ('running', 'rewritten', 'done')),
    person jsonb,
    counts jsonb not null default '{}',
    asked_at timestamptz,
    request_hash uuid,
    began_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    done_by text not null default current_user,
    constraint privacy_certificates_forget check (state <> 'done' or person is null)
);
create unique index on ops.privacy_certificates (token) where token is not null;
comment on table ops.privacy_certificates is 'One row per thing done for a person: what, when, by whom, how many rows and files. It names nobody.';
comment on column ops.privacy_certificates.token is 'Of an erasure: what stands for the person''s ids now, each with a number behind it.';
comment on column ops.privacy_certificates.state is 'running: ids are refused from now on; rewritten: raw and history are clean; done: all is.';
comment on column ops.privacy_certificates.person is 'The ids of an erasure that is not done, so that one killed half-way can be finished; null when it is done.';
comment on column ops.privacy_certificates.request_hash is 'Content hash of the request in raw.privacy_requests that asked for it.';
comment on column ops.privacy_certificates.counts is 'Rows by table and files, as counts.';

create table ops.privacy_answers (
    content_hash uuid primary key,
    certificate_id bigint references ops.privacy_certificates,
    problem text,
    answered_at timestamptz not null default clock_timestamp()
);
comment on table ops.privacy_answers is 'One row per request of raw.privacy_requests that was answered, or why it could not be.';

create table ops.privacy_choices (
    kind text not null check (kind in ('user', 'anonymous', 'session')),
    subject_id text not null,
    chosen_at timestamptz not null,
    choice text not null check (choice in ('opt_out', 'opt_in')),
    primary key (kind, subject_id, chosen_at, choice)
);
comment on table ops.privacy_choices is 'One row per id and choice of its person to opt out or in.';

create table ops.opt_outs (
    kind text not null,
    subject_id text not null,
    opted_out_at timestamptz not null,
    opted_in_at timestamptz not null,
    primary key (kind, subject_id, opted_out_at)
);
comment on table ops.opt_outs is 'One row per id and span in which its person wants not to be counted: staging leaves out what happened in it. Made of ops.privacy_choices, in whatever order these were told.';

create function ops.settle_opt_outs(subject_ids text[]) returns void
language sql set search_path = pg_catalog
as $$
    delete from ops.opt_outs where subject_id = any (subject_ids);
    insert into ops.opt_outs
    select kind, subject_id, chosen_at, next_at
    from (
        select
            kind, subject_id, chosen_at, choice,
            coalesce(lead(chosen_at) over (partition by kind, subject_id order by chosen_at), 'infinity') as next_at
        from (
            -- of two choices at one time the one to be left alone holds
            select distinct on (kind, subject_id, chosen_at) *
            from ops.privacy_choices
            where subject_id = any (subject_ids)
            order by kind, subject_id, chosen_at, choice desc
        ) as told
    ) as spans
    where choice = 'opt_out'
$$;

create table ops.truncated_addresses (
    only_row boolean primary key default true check (only_row),
    received_before timestamptz not null default '-infinity'
);
insert into ops.truncated_addresses default values;
comment on table ops.truncated_addresses is 'Before when the addresses of events in raw are cut to their networks.';

-- The loader may not delete from raw; this takes out of a load that nobody can see yet what it must not bring.
create function ops.refuse_rows(stream text, of_load bigint, received timestamptz, ids text[]) returns bigint
language plpgsql security definer set search_path = pg_catalog
as $$
declare
    refused bigint;
    by_email text := '';
begin
    if not exists (select from raw.loads where load_id = of_load and published_seq is null) then
        raise exception 'load % is published: nothing of it can be refused', of_load;
    end if;
    if stream = 'identifies' then
        by_email := 'or lower(btrim(email)) = any ($1)';
    end if;
    execute format(
        'delete from raw.%I where load_id = %s and received_at = %L and (
            user_id = any ($1) or (user_id is null and (anonymous_id = any ($1) or session_id = any ($1))) %s
        )', stream, of_load, received, by_email
    ) using ids;
    get diagnostics refused = row_count;
    -- another user on the same device: the row is theirs, the device''s id is not to come back
    execute format(
        'update raw.%I set anonymous_id = null,
            session_group = case when session_group = ''a:'' || anonymous_id then ''u:'' || user_id else session_group end
        where load_id = %s and received_at = %L and anonymous_id = any ($1)', stream, of_load, received
    ) using ids;
    return refused;
end
$$;
comment on function ops.refuse_rows(text, bigint, timestamptz, text[]) is 'Takes the rows of erased persons out of a load that is not published; returns how many. Rows of another user lose the shared device''s id.';

create function ops.refuse_rejects(of_load bigint, refused_ids bigint[]) returns bigint
language plpgsql security definer set search_path = pg_catalog
as $$
declare
    refused bigint;
begin
    delete from raw.rejects using raw.loads
    where rejects.load_id = of_load and loads.load_id = of_load and loads.published_seq is null
        and rejects.reject_id = any (refused_ids);
    get diagnostics refused = row_count;
    return refused;
end
$$;
comment on function ops.refuse_rejects(bigint, bigint[]) is 'Takes rejects that name erased persons out of a load that is not published; returns how many.';
