"""Retention: what is over its age goes, by the seed `retention_policies`, and nothing that is kept longer changes.

There is one horizon. It stands at the age of the classes that visits are made of (analytics events, session batches,
LLM requests; the shortest counts), and behind it days are closed: `history` holds what outlives them. Other ages hang
on that one horizon:

- A class that is kept longer stays in raw beyond it (audit, security, LLM requests), and its partitions are dropped by
  its own age. Its audit and security events go on in `fct_audit_events`.
- A class that is to go sooner (performance) cannot go whole: visits still open stand on its rows. It is reduced: the
  measurements go, what a visit counts stays until the visit is closed.
- What is folded and has an age (visits a year, free text of LLM requests) is reduced: the row stays in its barest form,
  since visitors are counted exactly, and follow a sign-in, for ever.

Each step is a transaction of its own that writes its line of `ops.retention_log`: it may be killed at any time, and the
next run does what is left.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from ingest.streams.retention import CLASSES
from orchestration import purge as purging
from orchestration.refresh import take_lock
from orchestration.seeds import FOLDER, rows_of

POLICIES, FIELDS = "retention_policies.csv", "retention_fields.csv"

# Classes by name, and the table of raw whose partitions they fill.
PARTITIONED = {
    **{name: f"events_{name}" for name in sorted(CLASSES)},
    "session_batches": "session_batches",
    "llm_requests": "llm_requests",
}
# What visits are made of: a day of any of them can go only when it is closed.
OF_VISITS = ("analytics", "session_batches", "llm_requests")
# How each class may go. What is to stay for ever may always do so.
WAYS = {
    **dict.fromkeys(PARTITIONED, ("drop", "stay")),
    "performance": ("reduce", "drop", "stay"),
    "rejects": ("delete", "stay"),
    "sessions": ("reduce", "stay"),
    **dict.fromkeys(
        (
            "identifies", "costs", "workspaces", "privacy_requests", "loads",
            "visitors", "daily_stats", "metric_values", "identity_edges",
        ),
        ("stay",),
    ),
}  # fmt: skip
KEPT_IN_HISTORY = ("audit", "security")
LOCK_TIMEOUT = "10s"
AT_ONCE = 20_000


@dataclass(frozen=True)
class Policy:
    """How long a class is kept, in days; None is for ever."""

    record_class: str
    keep_days: int | None
    goes_by: str


@dataclass(frozen=True)
class Step:
    """What goes, or went: from which relation, up to which day, how much."""

    record_class: str
    action: str
    relation: str
    before: date
    rows: int
    bytes: int


@dataclass
class Retention:
    """What a run did or, of a dry run, would do. `left` names partitions that others kept locked."""

    day: date
    horizon: date | None
    steps: list[Step] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def read_policies(seeds: Path = FOLDER) -> dict[str, Policy]:
    """Class → policy, of the seed.

    Raises:
        TidemarkError: the seed cannot be read, or a line of it makes no sense; names file and line.
    """
    found: dict[str, Policy] = {}
    for line, row in rows_of(seeds / POLICIES, ("record_class", "keep_days", "goes_by")):
        name, days, way = row["record_class"], row["keep_days"], row["goes_by"]
        if name not in WAYS:
            raise _wrong(line, f"unknown class {name!r}; use one of {', '.join(sorted(WAYS))}")
        if name in found:
            raise _wrong(line, f"{name} has a line already")
        if way not in WAYS[name]:
            raise _wrong(line, f"{name} cannot go by {way!r}; use {' or '.join(WAYS[name])}")
        if days and not (days.isascii() and days.isdigit() and 0 < int(days) < 100_000):
            raise _wrong(line, f"keep_days is {days!r}; use a whole number of days, or nothing for ever")
        if bool(days) != (way != "stay"):
            raise _wrong(line, f"{name}: what stays has no keep_days, and what goes has one")
        found[name] = Policy(name, int(days) if days else None, way)
    lacking = sorted(WAYS.keys() - found.keys())
    if lacking:
        raise TidemarkError(f"seeds/{POLICIES} names no policy for {', '.join(lacking)}: add a line for each.")
    age = horizon_age(found)
    sessions = found["sessions"].keep_days
    if sessions is not None and (age is None or sessions < age):
        raise TidemarkError(
            f"seeds/{POLICIES}: sessions are kept {sessions} days, but the days they are made of {age or 'for ever'}: "
            "keep sessions as long, or longer."
        )
    return found


def read_fields(seeds: Path = FOLDER) -> dict[tuple[str, str, str], list[str]]:
    """(class, holder, fate) → fields, of the seed.

    Raises:
        TidemarkError: the seed cannot be read, or names an unknown class, holder or fate; names file and line.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    known = {("performance", "properties", "stays"), ("sessions", "visit", "goes"), ("sessions", "metadata", "stays")}
    for line, row in rows_of(seeds / FIELDS, ("record_class", "holder", "field", "fate")):
        place = (row["record_class"], row["holder"], row["fate"])
        if place not in known or not row["field"]:
            raise TidemarkError(f"{line}: nothing is reduced by {', '.join(place)}: see the seed's description.")
        found.setdefault(place, []).append(row["field"])
    return {place: found.get(place, []) for place in known}


def _wrong(line: str, what: str) -> TidemarkError:
    return TidemarkError(f"{line}: {what}.")


def horizon_age(policies: dict[str, Policy]) -> int | None:
    """After how many days a day is closed; None where nothing that visits are made of ever goes."""
    return min((policies[name].keep_days for name in OF_VISITS if policies[name].keep_days), default=None)


def retention(
    server: Server,
    *,
    dry_run: bool = False,
    seeds: Path = FOLDER,
    report: Callable[[Step], None] = lambda _: None,
) -> Retention:
    """Take away what is over its age; with `dry_run` only tell what would go, reading as much as that needs.

    Raises:
        TidemarkError: a seed makes no sense, a refresh runs or is unfinished, loads that tell of days to be closed were
            not refreshed yet, or partitions stayed locked (everything else is done then).
    """
    run = _Run(server, read_policies(seeds), read_fields(seeds), report)
    with connect(server, autocommit=True, application_name="tidemark retention") as connection:
        run.begin(connection, locked=not dry_run)
        if dry_run:
            run.tell()
        else:
            run.close()
            run.drop()
            run.reduce()
    done = run.done
    if done.left:
        raise TidemarkError(
            f"{len(done.left)} partitions are left, others keep them locked ({', '.join(done.left[:3])}): "
            "run retention again when no load and no long query is running."
        )
    return done


# Rows of a partition, those that an open visit stands on, and its size.
SIZE = "select count(*), count(*) filter (where carried), pg_total_relation_size(%s::regclass) from {part}"

REJECTS = "select count(*), coalesce(sum(pg_column_size(rejects.*)), 0) from raw.rejects where received_at < %s"
DELETE_REJECTS = """
with gone as (
    delete from raw.rejects where reject_id in (
        select reject_id from raw.rejects where received_at < %s order by reject_id limit %s
    )
    returning pg_column_size(rejects.*) as bytes
)
select count(*), coalesce(sum(bytes), 0) from gone
"""

OF_HISTORY = """
select count(*), coalesce(sum(pg_column_size(event)), 0) from history.closed_events
where retention_class = %s and occurred_at < %s
"""
DELETE_EVENTS = """
with gone as (
    delete from history.closed_events where (session_group, event_id) in (
        select session_group, event_id from history.closed_events
        where retention_class = %s and occurred_at < %s order by occurred_at limit %s
    )
    returning session_group, pg_column_size(event) as bytes
),

touched as (
    insert into ops.touched (target, kind, key)
    select bounds.target, 'session_group', gone.session_group
    from ops.bounds as bounds cross join (select distinct session_group from gone) as gone
)

select count(*), coalesce(sum(bytes), 0) from gone
"""

# What of a visit is over its age, and how it reads then. `visit` holds a former row of fct_sessions.
REDUCED_VISIT = """
visit - %(goes)s::text[] || case when jsonb_typeof(visit -> 'metadata') = 'object' then jsonb_build_object(
    'metadata', (
        select coalesce(jsonb_object_agg(pair.key, pair.value), '{}') from jsonb_each(visit -> 'metadata') as pair
        where pair.key = any(%(stays)s::text[])
    )
) else '{}' end
"""
# A text that is no word of the list says nothing that is counted, but that something was said.
REDUCED_REQUEST = """
case
    when request ->> 'feedback' <> ''
        and lower(trim(request ->> 'feedback')) not in (select word from staging.feedback_words)
        then request || '{"feedback": ""}'
    else request
end
"""
REDUCE = """
with old as (
    select {keys}, {holder} as old_value, {reduced} as new_value
    from history.{table} where {time} < %(before)s
),

changed as (
    update history.{table} as kept set {holder} = old.new_value
    from (select * from old where old_value is distinct from new_value limit %(at_once)s) as old
    where {matched}
    returning kept.session_group, pg_column_size(old.old_value) - pg_column_size(old.new_value) as bytes
),

touched as (
    insert into ops.touched (target, kind, key)
    select bounds.target, 'session_group', changed.session_group
    from ops.bounds as bounds cross join (select distinct session_group from changed) as changed
)

select count(*), coalesce(sum(bytes), 0) from changed
"""
TELL_REDUCED = """
select count(*), coalesce(sum(pg_column_size(old_value) - pg_column_size(new_value)), 0)
from (select {holder} as old_value, {reduced} as new_value from history.{table} where {time} < %(before)s) as old
where old_value is distinct from new_value
"""
VISITS: dict[str, str] = {
    "table": "closed_visits", "holder": "visit", "time": "started_at", "reduced": REDUCED_VISIT,
    "keys": "session_group, session_key",
    "matched": "kept.session_group = old.session_group and kept.session_key = old.session_key",
}  # fmt: skip
REQUESTS: dict[str, str] = {
    "table": "closed_requests", "holder": "request", "time": "occurred_at", "reduced": REDUCED_REQUEST,
    "keys": "session_group, request_key",
    "matched": "kept.session_group = old.session_group and kept.request_key = old.request_key",
}  # fmt: skip

REDUCED_PROPERTIES = """
(
    select coalesce(jsonb_object_agg(pair.key, pair.value), '{}') from jsonb_each(properties) as pair
    where pair.key = any(%(stays)s::text[])
)
"""
# What was carried into the default partition when its day was dropped before it was ever reduced.
REDUCE_DEFAULT = """
with old as (
    select ctid, properties as old_value, {reduced} as new_value from raw.{table}_default
    where received_at < %(before)s
),

changed as (
    update raw.{table}_default as kept set properties = old.new_value
    from (select * from old where old_value is distinct from new_value limit %(at_once)s) as old
    where kept.ctid = old.ctid
    returning kept.session_group, pg_column_size(old.old_value) - pg_column_size(old.new_value) as bytes
),

touched as (
    insert into ops.touched (target, kind, key)
    select bounds.target, 'session_group', changed.session_group
    from ops.bounds as bounds cross join (select distinct session_group from changed) as changed
)

select count(*), coalesce(sum(bytes), 0) from changed
"""
REDUCED_BEFORE = "select relation from ops.retention_log where action = 'reduce' and record_class = %s"


class _Run:
    """One run of retention on an open connection."""

    def __init__(
        self,
        server: Server,
        policies: dict[str, Policy],
        fields: dict[tuple[str, str, str], list[str]],
        report: Callable[[Step], None],
    ) -> None:
        self.policies = policies
        self.fields = fields
        self.report = report
        self.run_id = uuid.uuid4()
        self.done: Retention
        self.connection: psycopg.Connection

    def begin(self, connection: psycopg.Connection, *, locked: bool) -> None:
        self.connection = connection
        if locked:
            take_lock(connection, purging.MARK)
        today = connection.execute("select (ops.clock() at time zone 'UTC')::date").fetchone()[0]
        connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
        age = horizon_age(self.policies)
        self.done = Retention(today, today - timedelta(days=age) if age else None)

    def before(self, record_class: str) -> date | None:
        """The first day of a class that is kept; None where it is kept for ever."""
        days = self.policies[record_class].keep_days
        return None if days is None else self.done.day - timedelta(days=days)

    def note(self, step: Step, *, log: bool = True) -> None:
        if log:
            self.connection.execute(
                """
                insert into ops.retention_log
                    (run_id, record_class, action, relation, before_date, affected_rows, freed_bytes)
                values (%s, %s, %s, %s, %s, %s, %s)
                """,
                [self.run_id, step.record_class, step.action, step.relation, step.before, step.rows, step.bytes],
            )
        self.done.steps.append(step)
        self.report(step)

    # What is done.

    def close(self) -> None:
        """Move the horizon to where the ages of what visits are made of say."""
        if self.done.horizon is None:
            return
        with self.connection.transaction():
            visits = purging.close(self.connection, _start(self.done.horizon))
            if visits is not None:
                self.note(Step("sessions", "close", "ops.horizon", self.done.horizon, visits, 0))

    def first_kept(self, horizon: datetime | None) -> dict[str, date]:
        """Table of raw → first day whose partition is kept, of the classes that are ever dropped."""
        found = {}
        for name, table in PARTITIONED.items():
            before = self.before(name)
            if before is not None and horizon is not None:
                found[table] = min(before, purging.first_kept_day(horizon))
        return found

    def drop(self) -> None:
        """Drop partitions that are over their class's age and closed."""
        tables = self.first_kept(purging.horizon(self.connection))
        classes = {table: name for name, table in PARTITIONED.items()}
        for parent, part in purging.partitions_before(self.connection, tables):
            name = classes[parent]
            try:
                with self.connection.transaction():
                    rows, carried, size = self._size(part)
                    if purging.drop_partition(self.connection, parent, part):
                        self.note(Step(name, "drop", f"raw.{part}", tables[parent], rows - carried, size))
            except psycopg.errors.LockNotAvailable:
                self.done.left.append(part)
        for parent, day in tables.items():
            with self.connection.transaction():
                rows = purging.delete_from_default(self.connection, parent, day)
                if rows:
                    self.note(Step(classes[parent], "drop", f"raw.{parent}_default", day, rows, 0))

    def _size(self, part: str) -> tuple[int, int, int]:
        statement = sql.SQL(SIZE).format(part=sql.Identifier("raw", part))
        return self.connection.execute(statement, [f"raw.{part}"]).fetchone()

    def reduce(self) -> None:
        """Take the detail out of what is over its age and has to stay; delete what need not."""
        for name, part in self.to_reduce():
            try:
                with self.connection.transaction():
                    self._reduce_partition(name, part)
            except psycopg.errors.LockNotAvailable:
                self.done.left.append(part)
        for name, policy in self.policies.items():
            before = self.before(name)
            if policy.goes_by == "reduce" and name in PARTITIONED and before is not None:
                self._repeat(
                    Step(name, "reduce", f"raw.{PARTITIONED[name]}_default", before, 0, 0),
                    _filled(REDUCE_DEFAULT, {"table": PARTITIONED[name], "reduced": REDUCED_PROPERTIES}),
                    {"before": _start(before), "at_once": AT_ONCE, "stays": self.fields[name, "properties", "stays"]},
                )
        for name in KEPT_IN_HISTORY:
            before = self.before(name)
            if before is not None:
                self._repeat(
                    Step(name, "delete", "history.closed_events", before, 0, 0),
                    DELETE_EVENTS,
                    [name, _start(before), AT_ONCE],
                )
        for name, what in (("sessions", VISITS), ("llm_requests", REQUESTS)):
            before = self.before(name)
            if before is not None:
                self._repeat(
                    Step(name, "reduce", f"history.{what['table']}", before, 0, 0),
                    _filled(REDUCE, what),
                    self._values(before),
                )
        before = self.before("rejects")
        if before is not None:
            self._repeat(
                Step("rejects", "delete", "raw.rejects", before, 0, 0), DELETE_REJECTS, [_start(before), AT_ONCE]
            )

    def _values(self, before: date) -> dict[str, Any]:
        return {
            "before": _start(before),
            "goes": self.fields["sessions", "visit", "goes"],
            "stays": self.fields["sessions", "metadata", "stays"],
            "at_once": AT_ONCE,
        }

    def _repeat(self, step: Step, statement: str, values: Any) -> None:
        """Run a statement that tells rows and bytes until it finds nothing more, a transaction each."""
        while True:
            with self.connection.transaction():
                rows, size = self.connection.execute(statement, values).fetchone()
                if not rows:
                    return
                self.note(Step(step.record_class, step.action, step.relation, step.before, rows, int(size)))

    def to_reduce(self) -> list[tuple[str, str]]:
        """Class and partition of what is over its age and cannot go yet, and was not reduced before."""
        found = []
        for name, policy in self.policies.items():
            if policy.goes_by == "reduce" and name in PARTITIONED:
                before = {PARTITIONED[name]: self.before(name)}
                reduced = {relation for (relation,) in self.connection.execute(REDUCED_BEFORE, [name]).fetchall()}
                parts = purging.partitions_before(self.connection, before)
                found += [(name, part) for _, part in parts if f"raw.{part}" not in reduced]
        return found

    def _reduce_partition(self, name: str, part: str) -> None:
        """Write a partition anew without what its class tells in detail; what touches its groups follows."""
        names = {"part": sql.Identifier("raw", part)}
        connection, stays = self.connection, {"stays": self.fields[name, "properties", "stays"]}
        connection.execute(sql.SQL("lock table {part} in access exclusive mode").format(**names))
        size = connection.execute("select pg_total_relation_size(%s::regclass)", [f"raw.{part}"]).fetchone()[0]
        for statement in (
            "create temporary table kept (like {part}) on commit drop",
            "insert into kept select * from {part}",
            "update kept set properties = " + REDUCED_PROPERTIES.replace("{}", "{{}}"),
            "truncate {part}",
            "insert into {part} select * from kept",
        ):
            done = connection.execute(sql.SQL(statement).format(**names), stays if "stays" in statement else None)
        connection.execute(
            """
            insert into ops.touched (target, kind, key)
            select bounds.target, 'session_group', kept.session_group
            from ops.bounds as bounds cross join (select distinct session_group from kept where not withheld) as kept
            """
        )
        left = connection.execute("select pg_total_relation_size(%s::regclass)", [f"raw.{part}"]).fetchone()[0]
        before = self.before(name)
        assert before is not None
        self.note(Step(name, "reduce", f"raw.{part}", before, done.rowcount, max(size - left, 0)))

    # What would be done.

    def tell(self) -> None:
        """What a run now would do, without doing it: at most, since what open visits stand on is found by closing."""
        stored = purging.horizon(self.connection)
        horizon = max(filter(None, (stored, self.done.horizon and _start(self.done.horizon))), default=None)
        if horizon is not None and horizon != stored:
            visits = self.connection.execute(
                "select count(*) from marts.fct_sessions where session_date < %s and session_date >= %s",
                [horizon.date(), stored.date() if stored else "-infinity"],
            ).fetchone()[0]
            self.note(Step("sessions", "close", "ops.horizon", horizon.date(), visits, 0), log=False)
        tables = self.first_kept(horizon)
        classes = {table: name for name, table in PARTITIONED.items()}
        going = purging.partitions_before(self.connection, tables)
        dropped = set()
        for parent, part in going:
            rows, carried, size = self._size(part)
            if rows == 0 or rows > carried:
                dropped.add(part)
                self.note(Step(classes[parent], "drop", f"raw.{part}", tables[parent], rows - carried, size), log=False)
        for name, part in self.to_reduce():
            before = self.before(name)
            if part not in dropped and before is not None:
                rows, _, size = self._size(part)
                self.note(Step(name, "reduce", f"raw.{part}", before, rows, size), log=False)
        for name in KEPT_IN_HISTORY:
            before = self.before(name)
            if before is not None:
                counted = self.connection.execute(OF_HISTORY, [name, _start(before)]).fetchone()
                self._tell(Step(name, "delete", "history.closed_events", before, *map(int, counted)))
        for name, what in (("sessions", VISITS), ("llm_requests", REQUESTS)):
            before = self.before(name)
            if before is not None:
                counted = self.connection.execute(_filled(TELL_REDUCED, what), self._values(before)).fetchone()
                self._tell(Step(name, "reduce", f"history.{what['table']}", before, *map(int, counted)))
        before = self.before("rejects")
        if before is not None:
            counted = self.connection.execute(REJECTS, [_start(before)]).fetchone()
            self._tell(Step("rejects", "delete", "raw.rejects", before, *map(int, counted)))

    def _tell(self, step: Step) -> None:
        if step.rows:
            self.note(step, log=False)


def _filled(statement: str, what: dict[str, str]) -> str:
    for name, text in what.items():
        statement = statement.replace("{" + name + "}", text)
    return statement


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), timezone.utc)
