-- What people decided on recommendations, and when each was first made: kept beside marts that are computed anew.

create table ops.recommendation_decisions (
    recommendation_key uuid primary key,
    rule text not null,
    scope text not null,
    app_id text not null,
    workspace_id text,
    feature_id text,
    provider text,
    model text,
    suggestion text,
    title text not null,
    evidence jsonb not null,
    estimated_saving_usd numeric,
    severity numeric,
    priority text not null,
    state text not null check (state in ('open', 'accepted', 'dismissed')),
    decided_at timestamptz not null,
    decided_by text not null,
    note text
);
comment on table ops.recommendation_decisions is 'One row per recommendation that somebody decided on: the last decision, and what the recommendation said when it was made. One for all targets, never written by dbt: no build forgets it.';
comment on column ops.recommendation_decisions.state is 'accepted, dismissed, or open where it was opened again.';
comment on column ops.recommendation_decisions.decided_by is 'Database login that decided.';

create table ops.recommendation_sightings (
    target text not null,
    recommendation_key uuid not null,
    first_seen_at timestamptz not null,
    primary key (target, recommendation_key)
);
comment on table ops.recommendation_sightings is 'One row per target and recommendation: what "now" was for the first completed refresh that saw it. Written in the transaction that moves the mark, never changed.';
