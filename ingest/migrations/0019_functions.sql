-- What functions and views of the marts need of ops when a reader calls them, and the events of closed days.

-- A view's or function's reader has no right on ops.bounds: the clock reads it for them.
alter function ops.as_of(text) security definer;
grant usage on schema ops to tidemark_analyst, tidemark_bi, tidemark_workspace_reader;

create table history.closed_event_days (
    event_date date not null,
    app_id text not null,
    event_name text not null,
    event_day jsonb not null,
    primary key (event_date, app_id, event_name)
);
comment on table history.closed_event_days is 'One row per app and event name of a closed day.';
comment on column history.closed_event_days.event_day is 'Every other column of marts.agg_event_daily as it stood when the day was closed.';
