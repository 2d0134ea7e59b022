"""The tables made from raw: what user agents tell, and where addresses lie. Each is looked up once.

Models read them as they read raw. So what changes here for rows that marts may hold already enters the work list of
every target, in the same transaction, and waits while another target is being built from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

import psycopg
from psycopg import sql

from ingest.errors import TidemarkError
from ingest.geoip import Location, location_reader
from ingest.user_agents import Agent, AgentReader

BATCH = 5000

# One of each key: two subjects may share one, if somebody means it.
SUBJECTS = """
select distinct on (told.key) told.key::text, told.subject::text
from (
    select {key_function}(subject) as key, subject
    from (
        select distinct {subject_of} as subject
        from raw.events
        where
            {column} is not null
            -- leaves out the partitions of other days; the range of load_id is for its index
            and received_at between %(first_received)s and %(last_received)s
            and load_id between %(first_load)s and %(last_load)s
            and load_id in (
                select load_id from raw.loads where published_seq > %(from_seq)s and published_seq <= %(to_seq)s
            )
    ) as distinct_subjects
) as told
where %(rebuild)s or not exists (select from {table} as kept where kept.{key} = told.key)
order by told.key, told.subject
"""

# A load's rows are received when it starts.
LOADS = """
select coalesce(min(load_id), 0), coalesce(max(load_id), 0), min(started_at), max(started_at)
from raw.loads
where published_seq > %(from_seq)s and published_seq <= %(to_seq)s
"""

SUBJECTS_OF_ANOTHER_VERSION = "select {key}::text, {subject}::text from {table} where version <> %(version)s"

CHANGED = """
create temp table {changed} on commit drop as
select found.{key} as key
from {found} as found
left join {table} as kept using ({key})
where
    kept.{key} is not null and ({kept_values}) is distinct from ({found_values})
    or kept.{key} is null and num_nonnulls({found_values}) > 0
union all
select kept.{key}
from {table} as kept
where %(rebuild)s and num_nonnulls({kept_values}) > 0 and not exists (
    select from {found} as found where found.{key} = kept.{key}
)
"""

FORGET = "delete from {table} as kept where not exists (select from {found} as found where found.{key} = kept.{key})"

KEEP = """
insert into {table} select * from {found}
on conflict ({key}) do update
set ({values}, version, found_at) = (select {excluded}, excluded.version, excluded.found_at)
"""

TOUCH = """
insert into ops.touched (target, kind, key)
select bounds.target, 'session_group', bearing.session_group
from (
    select distinct session_group
    from raw.events
    where {column} is not null
        and {key_function}({column}) in (select key from {changed})
        and load_id in (select load_id from raw.loads where published_seq <= %(built_seq)s)
) as bearing
cross join ops.bounds as bounds
"""

# How far rows may stand in marts already, and whether a target other than the caller's is being built.
BUILT = """
select
    coalesce(max(case when target = %(target)s then completed_seq else to_seq end), 0),
    coalesce(bool_or(target is distinct from %(target)s and ops.refresh_is_running(target)), false)
from ops.bounds
"""


@dataclass(frozen=True)
class Kind:
    """A table of `ops` keyed by something of raw.events.

    `column` is what raw.events tells and `subject_of` what of it is looked up, kept as `subject`. `key_function` gives
    the key, of the one as of the other. `record` is the class of what is found.
    """

    name: str
    key: str
    subject: str
    column: str
    key_function: str
    subject_of: str
    record: type

    def compose(self, template: str) -> sql.Composed:
        """A statement on this kind from one of the templates above."""
        values = [field.name for field in fields(self.record)]

        def listed(*of: str) -> sql.Composed:
            return sql.SQL(", ").join(sql.Identifier(*of, value) for value in values)

        return sql.SQL(template).format(
            table=sql.Identifier("ops", self.name),
            found=sql.Identifier("pg_temp", f"found_{self.name}"),
            changed=sql.Identifier("pg_temp", f"changed_{self.name}"),
            key=sql.Identifier(self.key),
            subject=sql.Identifier(self.subject),
            column=sql.Identifier(self.column),
            key_function=sql.SQL(self.key_function),
            subject_of=sql.SQL(self.subject_of),
            values=listed(),
            found_values=listed("found"),
            kept_values=listed("kept"),
            excluded=listed("excluded"),
        )


USER_AGENTS = Kind(
    name="user_agents",
    key="user_agent_key",
    subject="user_agent",
    column="user_agent",
    key_function="ops.user_agent_key",
    subject_of="left(user_agent, 1000)",
    record=Agent,
)
IP_LOCATIONS = Kind(
    name="ip_locations",
    key="ip_network",
    subject="ip_network",
    column="ip_address",
    key_function="ops.ip_network",
    subject_of="ops.ip_network(ip_address)",
    record=Location,
)


@dataclass(frozen=True)
class Source:
    """What a kind is looked up in: `read` takes a subject and returns the kind's record."""

    version: str
    read: Callable[[str], Any]


@dataclass(frozen=True)
class Outcome:
    """What was done to one kind: rows looked up, rows new or told otherwise, session groups put on work lists.

    `version` is None where nothing is configured to look it up in. `postponed`: some of it waits until no other
    target is being built.
    """

    kind: str
    version: str | None = None
    looked_up: int = 0
    changed: int = 0
    touched: int = 0
    postponed: bool = False


def open_sources() -> dict[Kind, Source | None]:
    """What each kind is looked up in; None for locations when no database is configured.

    Raises:
        TidemarkError: a seed or the configured database cannot be read.
    """
    agents, locations = AgentReader(), location_reader()
    return {
        USER_AGENTS: Source(agents.version, agents.read),
        IP_LOCATIONS: Source(locations.version, locations.read) if locations else None,
    }


def newest_load(connection: psycopg.Connection) -> int:
    """`published_seq` of the last load, 0 while there is none.

    Raises:
        TidemarkError: the schema is not there.
    """
    try:
        return connection.execute("select coalesce(max(published_seq), 0) from raw.loads").fetchone()[0]
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise TidemarkError("The schema raw is not there yet: run `python -m ingest migrate` first.") from None


def enrich(
    connection: psycopg.Connection,
    sources: Mapping[Kind, Source | None],
    to_seq: int,
    *,
    target: str | None = None,
    rebuild: bool = False,
) -> list[Outcome]:
    """Look up what the loads up to `to_seq` tell for the first time, and again what is of another version.

    A transaction per kind; two at once take turns. `target` is the one the caller is about to build. A kind without
    a source is left as it is. With `rebuild` every kind is made anew from raw, and empty where it has no source.
    """
    outcomes = []
    for kind, source in sources.items():
        if source is None and not rebuild:
            outcomes.append(Outcome(kind.name))
            continue
        with connection.transaction():
            outcomes.append(_enrich(connection, kind, source, to_seq, target, rebuild))
    return outcomes


def _enrich(
    connection: psycopg.Connection, kind: Kind, source: Source | None, to_seq: int, target: str | None, rebuild: bool
) -> Outcome:
    version = source.version if source else ""
    # Whoever begins a refresh now waits here before it builds.
    known_version, known_seq = connection.execute(
        "select version, published_seq from ops.enrichment where kind = %s for update", [kind.name]
    ).fetchone()
    built_seq, others_build = connection.execute(BUILT, {"target": target}).fetchone()
    to_seq = max(to_seq, known_seq)
    behind = known_seq < min(built_seq, to_seq)
    stale = rebuild or known_version != version
    if others_build and (rebuild or behind):
        return Outcome(kind.name, version or None, postponed=True)
    again = stale and not others_build
    if not again and known_seq == to_seq:
        return Outcome(kind.name, version, postponed=stale)

    connection.execute(kind.compose("create temp table {found} (like {table} including all) on commit drop"))
    queries = [SUBJECTS, SUBJECTS_OF_ANOTHER_VERSION] if again and not rebuild else [SUBJECTS]
    limits = {"from_seq": 0 if rebuild else known_seq, "to_seq": to_seq, "version": version, "rebuild": rebuild}
    names = ("first_load", "last_load", "first_received", "last_received")
    limits |= zip(names, connection.execute(LOADS, limits).fetchone(), strict=True)
    looked_up = sum(_look_up(connection, kind, source, query, limits) for query in queries) if source else 0
    changed = connection.execute(kind.compose(CHANGED), {"rebuild": rebuild}).rowcount
    if rebuild:
        connection.execute(kind.compose(FORGET))
    connection.execute(kind.compose(KEEP))
    touched = 0
    if changed and (again or behind):
        touched = connection.execute(kind.compose(TOUCH), {"built_seq": built_seq}).rowcount
    connection.execute(
        "update ops.enrichment set version = %s, published_seq = %s where kind = %s",
        [known_version if stale and not again else version, to_seq if source else 0, kind.name],
    )
    return Outcome(kind.name, version or None, looked_up, changed, touched, postponed=stale and not again)


def _look_up(connection: psycopg.Connection, kind: Kind, source: Source, query: str, limits: dict[str, Any]) -> int:
    """Copy what the query's subjects tell to the findings, so many at a time; returns how many they were."""
    looked_up = 0
    copy_in = kind.compose("copy {found} ({key}, {values}, version) from stdin")
    if kind.subject != kind.key:
        copy_in = kind.compose("copy {found} ({key}, {subject}, {values}, version) from stdin")
    with connection.cursor(name=f"subjects_of_{kind.name}") as subjects, connection.cursor() as writer:
        subjects.execute(kind.compose(query), limits)
        while batch := subjects.fetchmany(BATCH):
            with writer.copy(copy_in) as copy:
                for key, subject in batch:
                    told = [key] if kind.subject == kind.key else [key, subject]
                    copy.write_row([*told, *astuple(source.read(subject)), source.version])
            looked_up += len(batch)
    return looked_up
