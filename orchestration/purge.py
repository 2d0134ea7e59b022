"""Close days for good: what is to outlive them goes to `history`, then their raw partitions are dropped.

A purge to a horizon closes every UTC day before it. Nothing that is kept changes: sessions, visitors, daily stats, LLM
requests, costs and metrics read `history` from then on, an open visit that crosses the horizon keeps its rows of raw
(column `carried`), and what was touched goes onto the work list, so that the next refresh takes the closed days'
events, page views and goals out of the marts. What a later load tells of a closed day is kept out and counted
(`agg_kept_out`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import psycopg
from psycopg import sql

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from orchestration.closing import STANDS, carried_span, close_days
from orchestration.refresh import take_lock

MARK = "prod"
# Streams whose days can be told again from history alone. The others have classes of their own.
PURGED = ("session_batches", "llm_requests", "events_analytics", "events_performance")
# A record may be dated so much later than it was received (macro is_credible).
SKEW = timedelta(hours=24)
LOCK_TIMEOUT = "10s"

# The range lets the index on load_id leave out what came before.
TOLD_SINCE = " or ".join(
    f"exists (select from raw.{stream} where load_id >= %(first_load)s and load_id = any(%(loads)s) and {time})"
    for stream, time in {
        "events": "occurred_at < %(horizon)s",
        "llm_requests": "record_type = 'request' and occurred_at < %(horizon)s",
        "session_batches": "started_at < %(horizon)s",
    }.items()
)

PARTITIONS = """
select parents.relname, parts.relname
from pg_inherits
inner join pg_class as parents on pg_inherits.inhparent = parents.oid
inner join pg_class as parts on pg_inherits.inhrelid = parts.oid
where parents.relnamespace = 'raw'::regnamespace and parents.relname = any(%(parents)s)
    and parts.relname ~ '_[0-9]{8}$'
    and to_date(right(parts.relname, 8), 'YYYYMMDD') < %(first_kept)s
order by 1, 2
"""


@dataclass(frozen=True)
class Purge:
    """What a purge did. `horizon` is the first instant still open; counts are of rows."""

    horizon: datetime
    closed_visits: int
    carried_rows: int
    partitions: list[str]


def purge(server: Server, before: date | datetime, streams: tuple[str, ...] = PURGED) -> Purge:
    """Close every UTC day before `before` and drop the raw partitions that hold nothing else.

    The next refresh takes the closed days' events, page views and goals out of the marts. A kill leaves either the days
    open or closed; what partitions are then still there the next purge drops. `streams` are tables of raw whose
    partitions go.

    Raises:
        TidemarkError: `before` lies in the future, a refresh is running or unfinished, loads that tell of those days
            were not refreshed yet, or loads under way keep the partitions locked.
    """
    day = before.date() if isinstance(before, datetime) else before
    new = datetime.combine(day, time(), timezone.utc)
    with connect(server, autocommit=True, application_name=f"tidemark purge {MARK}") as connection:
        take_lock(connection, MARK)
        visits = close(connection, new) or 0
        dropped = _drop_partitions(connection, streams)
        span = carried_span(connection)
        carried = sum(
            connection.execute(
                f"select count(*) from raw.{stream} where carried and received_at between %s and %s", span
            ).fetchone()[0]
            for stream in STANDS
        )
        return Purge(horizon(connection), visits, carried, dropped)


def horizon(connection: psycopg.Connection) -> datetime | None:
    """The stored horizon; None while it stands at minus infinity."""
    return connection.execute("select nullif(horizon, '-infinity') from ops.horizon").fetchone()[0]


def close(connection: psycopg.Connection, new: datetime) -> int | None:
    """Move the horizon to `new`; returns how many visits were closed, None where those days are closed already.

    Raises:
        TidemarkError: the marts are not complete, or loads that tell of those days were not refreshed yet.
    """
    with connection.transaction():
        old = horizon(connection)
        if old is not None and old >= new:
            return None
        return close_days(connection, old, new, _check(connection, new))


def _check(connection: psycopg.Connection, horizon: datetime) -> int:
    """The last load the marts have seen; refuses what a purge must not close."""
    if horizon > connection.execute("select ops.clock()").fetchone()[0]:
        raise TidemarkError(f"{horizon:%Y-%m-%d} lies in the future: only days that are over can be closed.")
    row = connection.execute("select completed_seq from ops.bounds where target = %s", [MARK]).fetchone()
    unfinished = connection.execute(
        """
        select exists (select from ops.touched where target = %(mark)s)
            or exists (select from ops.rebuilds where target = %(mark)s)
        """,
        {"mark": MARK},
    ).fetchone()[0]
    if row is None or not row[0] or unfinished:
        raise TidemarkError("The marts are not complete: run `make refresh` first, then close days.")
    loads = [
        load_id for (load_id,) in connection.execute("select load_id from raw.loads where published_seq > %s", [row[0]])
    ]
    unseen = {"loads": loads, "first_load": min(loads, default=0), "horizon": horizon}
    if loads and connection.execute(f"select {TOLD_SINCE}", unseen).fetchone()[0]:
        raise TidemarkError(
            f"Loads that are not in the marts yet tell of days before {horizon:%Y-%m-%d}: run `make refresh` first."
        )
    return row[0]


def first_kept_day(horizon: datetime) -> date:
    """The first day whose partition may hold rows of days that are still open."""
    return (horizon - SKEW).date()


def _drop_partitions(connection: psycopg.Connection, streams: tuple[str, ...]) -> list[str]:
    """Drop what holds only rows of closed days; carried ones move to the default partition."""
    closed_until = horizon(connection)
    if closed_until is None:
        return []
    first_kept = first_kept_day(closed_until)
    found = partitions_before(connection, dict.fromkeys(streams, first_kept))
    dropped = []
    try:
        for parent, part in found:
            if drop_partition(connection, parent, part):
                dropped.append(part)
        for parent in streams:
            delete_from_default(connection, parent, first_kept)
    except psycopg.errors.LockNotAvailable as error:
        raise TidemarkError(
            f"The days are closed; {len(found) - len(dropped)} partitions are left, loads keep them locked: "
            "purge again when none is running."
        ) from error
    return dropped


def partitions_before(connection: psycopg.Connection, first_kept: Mapping[str, date]) -> list[tuple[str, str]]:
    """Table of raw and partition of it, for each partition of a day before the table's first kept one."""
    return [
        (parent, part)
        for table, day in first_kept.items()
        for parent, part in connection.execute(PARTITIONS, {"parents": [table], "first_kept": day}).fetchall()
    ]


def delete_from_default(connection: psycopg.Connection, parent: str, first_kept: date) -> int:
    """Delete what landed in the default partition before a day and is not carried; returns how many rows."""
    return connection.execute(
        sql.SQL("delete from raw.{} where received_at < %s and not carried").format(
            sql.Identifier(f"{parent}_default")
        ),
        [datetime.combine(first_kept, time(), timezone.utc)],
    ).rowcount


def drop_partition(connection: psycopg.Connection, parent: str, part: str) -> bool:
    """Drop one partition but for its carried rows; False where it holds nothing else."""
    names: dict[str, Any] = {"parent": sql.Identifier("raw", parent), "part": sql.Identifier("raw", part)}
    only_carried = connection.execute(
        sql.SQL("select exists (select from {part}) and not exists (select from {part} where not carried)").format(
            **names
        )
    ).fetchone()[0]
    if only_carried:
        return False
    columns = connection.execute(
        """
        select attname from pg_attribute
        where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum
        """,
        [f"raw.{parent}"],
    ).fetchall()
    names["columns"] = sql.SQL(", ").join(sql.Identifier(column) for (column,) in columns)
    with connection.transaction():
        connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
        for statement in (
            "create temporary table kept on commit drop as select {columns} from {part} where carried",
            "alter table {parent} detach partition {part}",
            "drop table {part}",
            "insert into {parent} ({columns}) select {columns} from kept",
        ):
            connection.execute(sql.SQL(statement).format(**names))
    return True
