-- Where a closing finds what the last one carried on, without a look at the partitions of all days.

alter table ops.horizon
    add column carried_from timestamptz not null default 'infinity',
    add column carried_to timestamptz not null default '-infinity';

update ops.horizon set (carried_from, carried_to) = (
    select coalesce(min(received_at), 'infinity'), coalesce(max(received_at), '-infinity')
    from (
        select received_at from raw.session_batches where carried
        union all
        select received_at from raw.events where carried
        union all
        select received_at from raw.llm_requests where carried
    ) as carried
);

comment on column ops.horizon.carried_from is 'When the first of the rows of raw that are carried over the horizon was received; infinity where there is none.';
comment on column ops.horizon.carried_to is 'When the last of them was received; -infinity where there is none.';
