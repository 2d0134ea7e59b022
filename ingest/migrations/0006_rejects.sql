-- What becomes of rejects, and the rows a mended record takes the place of.

alter table raw.loads add column app text;
comment on column raw.loads.app is 'The app of records that name none, as the load was told.';

alter table raw.rejects
    add column cleared_at timestamptz,
    add column cleared_by text,
    add column cleared_by_load bigint references raw.loads,
    add column note text,
    add constraint rejects_clearing check (
        (cleared_at is null) = (cleared_by is null) and (cleared_at is not null or cleared_by_load is null)
    );
create index rejects_open on raw.rejects (reject_id) where cleared_at is null;
comment on column raw.rejects.cleared_at is 'When it was replayed or discarded; null while it is open. The row stays, so that the counts of its load still add up.';
comment on column raw.rejects.cleared_by is 'Who replayed or discarded it.';
comment on column raw.rejects.cleared_by_load is 'The load that holds the record now; null where it was discarded.';
comment on column raw.rejects.note is 'Why it was discarded.';

create table raw.superseded (
    load_id bigint not null references raw.loads,
    line_number bigint not null,
    superseded_by bigint not null references raw.loads,
    primary key (load_id, line_number)
);
create index superseded_by_load on raw.superseded (superseded_by);
comment on table raw.superseded is 'One row per session batch that was loaded without its bad elements and whose mended record a replay loaded whole: from that load on models pass the incomplete row over.';
