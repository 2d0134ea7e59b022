"""Replay: which keys a refresh must take up to re-process a range of UTC days.

The session groups and cost lines with anything received or done on those days go onto the work list whole, and with
them the keys by which the models below are replaced: those days, and the visitors of those groups. The refresh then
goes on as any other, so a replay that is killed is finished by the next refresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from graphlib import TopologicalSorter
from typing import Any

import psycopg
from psycopg import sql

from ingest.errors import TidemarkError
from orchestration.model_state import incremental_models

USAGE = "say both days, as in `make replay FROM=2026-03-01 TO=2026-03-08`"
HAPPENED = {
    "events": "occurred_at >= %(start)s and occurred_at < %(stop)s",
    "llm_requests": "occurred_at >= %(start)s and occurred_at < %(stop)s",
    "identifies": "occurred_at >= %(start)s and occurred_at < %(stop)s",
    # a batch that began the day before may reach into the first day; what a server sends has no start
    "session_batches": """
        (
            started_at >= %(start)s - interval '24 hours' and started_at < %(stop)s
            and greatest(
                started_at, ended_at,
                started_at + least(path_timings[cardinality(path_timings)], 86400000) * interval '1 millisecond'
            ) >= %(start)s
        )
        or (
            started_at is null
            and (llm_interactions -> 0 ->> 'timestamp')::timestamptz >= %(start)s
            and (llm_interactions -> 0 ->> 'timestamp')::timestamptz < %(stop)s
        )
    """,
}

# A record counts only if it happened at most 24 hours after its receipt: partitions of earlier days are not read.
GROUPS_OF_STREAM = """
insert into ops.touched (target, kind, key)
select %(target)s, 'session_group', session_group from raw.{stream}
where received_at >= %(start)s and received_at < %(stop)s
union
select %(target)s, 'session_group', session_group from raw.{stream}
where received_at >= %(start)s - interval '24 hours' and ({happened})
"""
GROUPS_OF_VISITS = """
insert into ops.touched (target, kind, key)
select distinct %(target)s, 'session_group', session_group
from {sessions}
where
    session_date between (%(start)s at time zone 'UTC' - %(longest_visit)s)::date and %(last)s
    and started_at < %(stop)s
    and ended_at >= %(start)s
"""
COSTS = """
insert into ops.touched (target, kind, key)
select distinct %(target)s, 'cost', cost_id from raw.costs
where
    (received_at >= %(start)s and received_at < %(stop)s)
    or (received_at >= %(start)s - interval '24 hours' and occurred_at >= %(start)s and occurred_at < %(stop)s)
"""
DAYS = """
insert into ops.touched (target, kind, key)
select %(target)s, %(kind)s, day::date::text
from generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') as day
"""
KEYS_OF_ROWS = """
insert into ops.touched (target, kind, key)
select distinct %(target)s, %(kind)s, {column}::text
from {relation}
where {column} is not null and {key} in (
    select work.key::{key_type} from ops.touched as work
    where work.target = %(target)s and work.kind = any(%(kinds)s)
)
"""


@dataclass(frozen=True)
class Days:
    """UTC days from `first` to `last`, both of them included."""

    first: date
    last: date

    def parameters(self, target: str) -> dict[str, Any]:
        """What the statements of this module name: the days, the instants between them, the target."""
        stop = self.last + timedelta(days=1)
        return {
            "target": target,
            "first": self.first,
            "last": self.last,
            "start": f"{self.first} 00:00:00+00",
            "stop": f"{stop} 00:00:00+00",
        }


def days_between(first: str | None, last: str | None) -> Days:
    """The days an operator named, as in 2026-03-01.

    Raises:
        TidemarkError: one is missing or no date, or the first comes after the last.
    """
    if not first or not last:
        raise TidemarkError(f"Replay which days? Please {USAGE}.")
    days = Days(_day(first), _day(last))
    if days.first > days.last:
        raise TidemarkError(f"The first day, {first}, comes after the last, {last}: {USAGE}.")
    return days


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise TidemarkError(f"{text!r} is no day: {USAGE}.") from None
    if not 1970 <= day.year < 2200:
        raise TidemarkError(f"{text} is out of range, no record is of that day: {USAGE}.")
    return day


def check_open(connection: psycopg.Connection, days: Days) -> None:
    """Refuse days that the horizon has closed.

    Raises:
        TidemarkError: a day begins before the horizon.
    """
    closed_until = connection.execute(
        "select ops.horizon()::text where ops.horizon() > %s::timestamptz", [f"{days.first} 00:00:00+00"]
    ).fetchone()
    if closed_until:
        raise TidemarkError(
            f"Days before the horizon ({closed_until[0]}) are closed, what they were made of is purged: "
            "replay from a later day on."
        )


def touch_groups(
    connection: psycopg.Connection, target: str, manifest: Mapping[str, Any], days: Days, longest_visit: timedelta
) -> None:
    """Put the session groups and cost lines with anything received or done on `days` onto the work list of `target`."""
    parameters = days.parameters(target) | {"longest_visit": longest_visit}
    for stream, happened in HAPPENED.items():
        connection.execute(GROUPS_OF_STREAM.format(stream=stream, happened=happened), parameters)
    connection.execute(COSTS, parameters)
    sessions = next(node for node in incremental_models(manifest).values() if node["name"] == "fct_sessions")
    if _exists(connection, sessions):
        connection.execute(sql.SQL(GROUPS_OF_VISITS).format(sessions=_relation(sessions)), parameters)


def touch_keys(connection: psycopg.Connection, target: str, manifest: Mapping[str, Any], days: Days) -> None:
    """Put the keys that the listed groups' rows carry onto the work list: what a refresh would find changed.

    A model hands down the keys of rows that come out different. A row below may be wrong where the one above is
    right, so a replay hands down the keys of all of them: `days` for a date, else every value in the listed rows.
    """
    for node in _in_order(manifest):
        meta = node["config"]["meta"]
        emitted = emitted_kinds(node)
        if not emitted or not _exists(connection, node):
            continue
        (key, kinds), *_ = meta["touched"].items()
        for kind, column in emitted.items():
            parameters = days.parameters(target) | {"kind": kind, "kinds": kinds}
            if _type(connection, node, column) == "date":
                connection.execute(DAYS, parameters)
                continue
            statement = sql.SQL(KEYS_OF_ROWS).format(
                column=sql.Identifier(column),
                relation=_relation(node),
                key=sql.Identifier(key),
                key_type=sql.SQL(meta.get("touched_type", "text")),
            )
            connection.execute(statement, parameters)


def emitted_kinds(node: Mapping[str, Any]) -> dict[str, str]:
    """Kind to column of the keys that a model of the manifest lists for those below it, as its strategy names them."""
    meta = node["config"]["meta"]
    return {
        f"{prefix}{node['name']}.{column}": column
        for prefix, named in (("", "emits"), ("whoever:", "emits_whoever"))
        for column in meta.get(named, [])
    }


def _in_order(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The incremental models, each after those it is made of."""
    incremental = incremental_models(manifest)
    graph = {unique_id: node["depends_on"].get("nodes", []) for unique_id, node in manifest["nodes"].items()}
    for unique_id in TopologicalSorter(graph).static_order():
        if unique_id in incremental:
            yield incremental[unique_id]


def _relation(node: Mapping[str, Any]) -> sql.Identifier:
    return sql.Identifier(node["schema"], node["alias"])


def _exists(connection: psycopg.Connection, node: Mapping[str, Any]) -> bool:
    name = _relation(node).as_string(connection)
    return connection.execute("select to_regclass(%s) is not null", [name]).fetchone()[0]


def _type(connection: psycopg.Connection, node: Mapping[str, Any], column: str) -> str:
    return connection.execute(
        "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = to_regclass(%s) and attname = %s",
        [_relation(node).as_string(connection), column],
    ).fetchone()[0]
