"""Recommendations: which there are, what was decided on them, and when each was first seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from ingest.errors import TidemarkError

MART = "model.tidemark.recommendations"
PREFIX = re.compile(r"[0-9a-f-]{1,36}")
ACCEPTED, DISMISSED, OPEN = "accepted", "dismissed", "open"

LIST = """
select
    recommendation_key, priority, rule, title, app_id, estimated_saving_usd, severity, evidence, state, is_current,
    first_seen_at, decided_at, decided_by, note
from marts.recommendations
where state = 'open' or %(everything)s
order by
    array_position(array['high', 'medium', 'low'], priority), estimated_saving_usd desc nulls last,
    severity desc nulls last, recommendation_key
"""

FIND = """
select recommendation_key::text, title from marts.recommendations
where recommendation_key::text like %(prefix)s || '%%'
order by 1
"""

DECIDE = """
insert into ops.recommendation_decisions (
    recommendation_key, rule, scope, app_id, workspace_id, feature_id, provider, model, suggestion, title, evidence,
    estimated_saving_usd, severity, priority, state, decided_at, decided_by, note
)
select
    recommendation_key, rule, scope, app_id, workspace_id, feature_id, provider, model, suggestion, title, evidence,
    estimated_saving_usd, severity, priority, %(state)s, ops.clock(), session_user, %(note)s
from marts.recommendations
where recommendation_key = %(key)s
on conflict (recommendation_key) do update set
    title = excluded.title, evidence = excluded.evidence, estimated_saving_usd = excluded.estimated_saving_usd,
    severity = excluded.severity, priority = excluded.priority, state = excluded.state,
    decided_at = excluded.decided_at, decided_by = excluded.decided_by, note = excluded.note
"""

SEE = """
insert into ops.recommendation_sightings (target, recommendation_key, first_seen_at)
select %(target)s, recommendation_key, %(seen_at)s from {recommendations}
on conflict do nothing
"""


def recommendations(connection: psycopg.Connection, everything: bool = False) -> list[dict[str, Any]]:
    """The open recommendations of production, the most pressing first; with `everything` the decided ones too.

    Raises:
        TidemarkError: no refresh has built them yet.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        try:
            return cursor.execute(LIST, {"everything": everything}).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise TidemarkError("There are no recommendations yet: run `make refresh` first.") from error


def decide(connection: psycopg.Connection, prefix: str, state: str, note: str | None = None) -> dict[str, str]:
    """Keep a decision on the one recommendation whose key begins with `prefix`; returns its key and title.

    A later decision replaces an earlier one, its note included. `state` is one of ACCEPTED, DISMISSED, OPEN. The caller
    commits.

    Raises:
        TidemarkError: `prefix` is no key, fits no recommendation or several, or none were built yet.
    """
    key, title = _one(connection, prefix.strip().lower())
    connection.execute(DECIDE, {"key": key, "state": state, "note": note})
    return {"recommendation_key": key, "title": title}


def _one(connection: psycopg.Connection, prefix: str) -> tuple[str, str]:
    if not PREFIX.fullmatch(prefix):
        raise TidemarkError(
            f"{prefix!r} is no key of a recommendation: `python -m orchestration recommendations` lists them."
        )
    try:
        found = connection.execute(FIND, {"prefix": prefix}).fetchall()
    except psycopg.errors.UndefinedTable as error:
        raise TidemarkError("There are no recommendations yet: run `make refresh` first.") from error
    if not found:
        raise TidemarkError(
            f"No recommendation has a key that begins with {prefix!r}: `python -m orchestration recommendations --all` "
            "lists them."
        )
    if len(found) > 1:
        raise TidemarkError(
            f"{len(found)} recommendations have a key that begins with {prefix!r}: give more of it, as in "
            f"{_telling(found)}."
        )
    return found[0]


def _telling(found: list[tuple[str, str]]) -> str:
    """The first two keys, cut where they differ."""
    first, second = found[0][0], found[1][0]
    length = next(place for place, pair in enumerate(zip(first, second, strict=True), 1) if pair[0] != pair[1])
    return f"{first[:length]} or {second[:length]}"


def note_sightings(connection: psycopg.Connection, target: str, manifest: Mapping[str, Any], seen_at: datetime) -> int:
    """Keep in `ops.recommendation_sightings` the recommendations that `target` sees for the first time; returns how
    many.

    Belongs in the transaction that moves the mark. `manifest` is dbt's, of the same target.
    """
    model = manifest["nodes"].get(MART)
    if model is None:
        return 0
    mart = sql.Identifier(model["schema"], model["alias"])
    # not built, where only some of the models are
    if connection.execute("select to_regclass(%s)", [mart.as_string(connection)]).fetchone()[0] is None:
        return 0
    statement = sql.SQL(SEE).format(recommendations=mart)
    return connection.execute(statement, {"target": target, "seen_at": seen_at}).rowcount
