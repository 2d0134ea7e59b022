-- The three streams beside sessions, events and requests, and the mark of records whose person did not consent.

create table raw.identifies (
    load_id bigint not null,
    line_number bigint not null,
    received_at timestamptz not null,
    withheld boolean not null default false,
    session_group text not null,
    content_hash uuid not null,
    identify_id text not null,
    app_id text,
    session_id text,
    anonymous_id text,
    user_id text,
    email text,
    name text,
    occurred_at timestamptz not null,
    properties jsonb not null
) partition by range (received_at);
create table raw.identifies_default partition of raw.identifies default;
create index on raw.identifies (session_group);
create index on raw.identifies (user_id) where user_id is not null;
create index on raw.identifies (anonymous_id) where anonymous_id is not null;
create index on raw.identifies using brin (load_id);
comment on table raw.identifies is 'One row per telling of who a visitor is, as its producer sent it.';
comment on column raw.identifies.identify_id is 'The producer''s id, else the content hash.';
comment on column raw.identifies.email is 'E-mail address as sent. It stands here and nowhere above: staging does not select it.';
comment on column raw.identifies.name is 'The person''s name as sent; staging does not select it.';
comment on column raw.identifies.properties is 'Traits: what else the producer told of the person.';

create table raw.costs (
    load_id bigint not null,
    line_number bigint not null,
    received_at timestamptz not null,
    withheld boolean not null default false,
    session_group text not null,
    content_hash uuid not null,
    cost_id text not null,
    app_id text,
    session_id text,
    anonymous_id text,
    user_id text,
    occurred_at timestamptz not null,
    period_start_at timestamptz,
    period_end_at timestamptz,
    category text,
    provider text,
    service text,
    model text,
    request_id text,
    feature_id text,
    workspace_id text,
    project_id text,
    team_id text,
    org_id text,
    plan text,
    amount numeric,
    currency text,
    properties jsonb not null,
    constraint costs_tell_an_amount check (withheld or (amount is not null and currency is not null))
) partition by range (received_at);
create table raw.costs_default partition of raw.costs default;
create index on raw.costs (session_group);
create index on raw.costs (request_id) where request_id is not null;
create index on raw.costs using brin (load_id);
comment on table raw.costs is 'One row per cost line as its producer sent it. A line that names a request or a model may be the same money as an LLM request.';
comment on column raw.costs.cost_id is 'The producer''s id, else the content hash.';
comment on column raw.costs.amount is 'Money in `currency`, digit for digit as sent; negative for a credit.';
comment on column raw.costs.currency is 'ISO 4217, upper case; USD where the producer names none.';
comment on column raw.costs.occurred_at is 'When the cost arose; where only a period is told, its start.';

create table raw.privacy_requests (
    load_id bigint not null,
    line_number bigint not null,
    received_at timestamptz not null,
    session_group text not null,
    content_hash uuid not null,
    request_id text not null,
    request_type text not null check (request_type in ('erase', 'export', 'opt_out', 'opt_in')),
    app_id text,
    anonymous_id text,
    user_id text,
    email text,
    requested_at timestamptz not null,
    properties jsonb not null,
    constraint privacy_requests_name_somebody check (coalesce(user_id, anonymous_id, email) is not null)
) partition by range (received_at);
create table raw.privacy_requests_default partition of raw.privacy_requests default;
create index on raw.privacy_requests using brin (load_id);
comment on table raw.privacy_requests is 'One row per request to erase, export, opt out or opt in. Never withheld: it is kept because the person asked.';
comment on column raw.privacy_requests.request_id is 'The producer''s id, else the content hash.';
comment on column raw.privacy_requests.email is 'E-mail address the request is about; staging does not select it.';

alter table raw.session_batches add column withheld boolean not null default false;
alter table raw.events add column withheld boolean not null default false;
alter table raw.llm_requests add column withheld boolean not null default false;
comment on column raw.session_batches.withheld is 'The person did not consent: time, app and nothing else is kept, and no model reads the row.';
comment on column raw.events.withheld is 'The person did not consent: time, app, name and category and nothing else is kept, and no model reads the row.';
comment on column raw.llm_requests.withheld is 'The person did not consent: time, app, record type and nothing else is kept, and no model reads the row.';
comment on column raw.identifies.withheld is 'The person did not consent: time, app and nothing else is kept, and no model reads the row.';
comment on column raw.costs.withheld is 'The person did not consent: time, app, category and nothing else is kept, and no model reads the row.';

-- As before, but for every table of raw that is partitioned by the day received.
create or replace function ops.make_partitions(
    days_ahead integer default 7, first_day date default (now() at time zone 'UTC')::date
)
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
    for parent in
        select tables.relname
        from pg_partitioned_table as partitioned
        inner join pg_class as tables on partitioned.partrelid = tables.oid
        where tables.relnamespace = 'raw'::regnamespace and partitioned.partstrat = 'r'
        order by tables.relname
    loop
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
