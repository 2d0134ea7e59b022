"""An erasure: from its tombstones to its certificate, safe to kill at any moment and to begin again.

1. Under the lock that loads publish under: who the person is, a tombstone for each id, a certificate that is `running`.
   What loads bring from then on is refused, those under way included.
2. One transaction: raw, history and ops are rewritten, what marts must make anew is listed (`rewritten`).
3. Files: the inbox's done and failed ones, exports. Schemas of dev targets are dropped.
4. A refresh makes the marts anew. If they now know of another id of the person, from 1 with that.
5. Statistics of the planner, which keep frequent values, are made anew; the certificate forgets the ids (`done`).

Each step may be repeated. The next privacy command finishes an erasure that was killed.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from ingest.forgetting import Mentions, forget_in_folders, is_distinctive
from ingest.hash_key import hash_key, keyed_hash, remember_key
from ingest.inbox import BROKEN, DONE, inbox_folder
from ingest.load import PUBLISH_LOCK
from orchestration.exports.run import exports_folder
from orchestration.privacy.person import Person, Subject, completed, find
from orchestration.privacy.rewriting import rewrite
from orchestration.refresh import refresh, take_lock

PREFIX = "erased-"
MARK = "prod"
PRIVACY_LOCK = "select pg_advisory_lock(hashtext('tidemark.privacy'))"
LAYERS = ("staging", "intermediate", "marts")
WAIT_SECONDS = 600.0


@dataclass(frozen=True)
class Certificate:
    """What was done. It names nobody; `counts` are rows by table, and files."""

    certificate_id: int
    action: str
    token: str | None
    state: str
    counts: dict[str, int]


@contextmanager
def one_at_a_time(server: Server, wait_seconds: float = WAIT_SECONDS) -> Iterator[psycopg.Connection[Any]]:
    """A connection that holds the lock of privacy commands; the second of two waits.

    Raises:
        TidemarkError: the other one takes longer than that.
    """
    with connect(server, autocommit=True, application_name="tidemark privacy") as connection:
        connection.execute("select set_config('lock_timeout', %s, false)", [str(int(wait_seconds * 1000))])
        try:
            connection.execute(PRIVACY_LOCK)
        except psycopg.errors.LockNotAvailable:
            raise TidemarkError("Another privacy command is running: wait for it and try again.") from None
        connection.execute("set lock_timeout = 0")
        yield connection


def erase(
    server: Server,
    subject: Subject,
    *,
    asked_at: datetime | None = None,
    request_hash: str | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> Certificate:
    """Erase a person: no relation, file or export names them afterwards, and what was counted stays counted.

    Finishes erasures that were killed first. A refresh that runs is waited for. `request_hash` is the content hash of
    the request that asks for it, which is then answered.

    Raises:
        TidemarkError: nobody is named, or a device of several users; there is no key; a refresh or another privacy
            command takes too long; a model failed. What is begun is finished by the next call.
    """
    with one_at_a_time(server, wait_seconds) as connection:
        finish_all(server, connection, wait_seconds)
        certificate_id = _begin(connection, subject, asked_at, request_hash)
        return _finish(server, connection, certificate_id, wait_seconds)


def resume(server: Server, *, wait_seconds: float = WAIT_SECONDS) -> list[Certificate]:
    """Finish the erasures that were killed half-way."""
    with one_at_a_time(server, wait_seconds) as connection:
        return finish_all(server, connection, wait_seconds)


def finish_all(server: Server, connection: psycopg.Connection[Any], wait_seconds: float) -> list[Certificate]:
    """The same, by a connection that holds the lock of privacy commands."""
    unfinished = connection.execute(
        "select certificate_id from ops.privacy_certificates where state <> 'done' order by certificate_id"
    ).fetchall()
    return [_finish(server, connection, certificate_id, wait_seconds) for (certificate_id,) in unfinished]


def _begin(
    connection: psycopg.Connection[Any], subject: Subject, asked_at: datetime | None, request_hash: str | None
) -> int:
    key = hash_key(connection)
    with connection.transaction():
        connection.execute(PUBLISH_LOCK)
        remember_key(connection, key)
        person = find(connection, subject)
        _bury(connection, key, person)
        return connection.execute(
            """
            insert into ops.privacy_certificates (action, token, state, person, asked_at, request_hash)
            values ('erase', %s, 'running', %s, %s, %s) returning certificate_id
            """,
            [PREFIX + secrets.token_hex(8), Jsonb(person.as_json()), asked_at, request_hash],
        ).fetchone()[0]


def _bury(connection: psycopg.Connection[Any], key: str, person: Person) -> None:
    connection.cursor().executemany(
        "insert into ops.tombstones (id_hash) values (%s) on conflict do nothing",
        [(keyed_hash(key, one),) for one in sorted(person.ids)],
    )


def _finish(
    server: Server, connection: psycopg.Connection[Any], certificate_id: int, wait_seconds: float
) -> Certificate:
    token, told, counted = connection.execute(
        "select token, person, counts from ops.privacy_certificates where certificate_id = %s", [certificate_id]
    ).fetchone()
    person, counts = Person.of_json(told), Counter(counted)
    while True:
        with _no_refresh(connection, wait_seconds):
            # Rows of a visitor who was not known to be this person carry the token already, and are not changed again.
            counts += _rewrite(connection, certificate_id, person, token)
            counts["schemas of dev targets dropped"] += _drop_dev_targets(connection)
        counts += _forget_files(person)
        _save(connection, certificate_id, person, counts)
        _rebuild(server, wait_seconds)
        more = _later_aliases(connection, token)
        if not more:
            break
        person.anonymous |= more
        _widen(connection, certificate_id, person)
    _clean_statistics(connection, person, token)
    row = connection.execute(
        """
        update ops.privacy_certificates
        set state = 'done', person = null, counts = %s, finished_at = clock_timestamp()
        where certificate_id = %s returning certificate_id, action, token, state, counts
        """,
        [Jsonb(dict(+counts)), certificate_id],
    ).fetchone()
    connection.execute("vacuum (analyze) ops.privacy_certificates")
    return Certificate(*row)


def _rewrite(connection: psycopg.Connection[Any], certificate_id: int, person: Person, token: str) -> Counter[str]:
    with connection.transaction():
        changed = rewrite(connection, person, token)
        connection.execute(
            "update ops.privacy_certificates set state = 'rewritten' where certificate_id = %s", [certificate_id]
        )
        connection.execute(
            """
            insert into ops.privacy_answers (content_hash, certificate_id)
            select request_hash, certificate_id from ops.privacy_certificates
            where certificate_id = %s and request_hash is not null
            on conflict do nothing
            """,
            [certificate_id],
        )
        connection.execute(
            """
            update ops.privacy_certificates
            set counts = (
                select coalesce(jsonb_object_agg(name, amount), '{}') from (
                    select key as name, sum(value::bigint) as amount
                    from (select * from jsonb_each_text(counts) union all select * from jsonb_each_text(%s)) as told
                    group by key
                ) as summed
            )
            where certificate_id = %s
            """,
            [Jsonb(dict(changed)), certificate_id],
        )
    return changed


def _save(connection: psycopg.Connection[Any], certificate_id: int, person: Person, counts: Counter[str]) -> None:
    connection.execute(
        "update ops.privacy_certificates set person = %s, counts = %s where certificate_id = %s",
        [Jsonb(person.as_json()), Jsonb(dict(+counts)), certificate_id],
    )


def _widen(connection: psycopg.Connection[Any], certificate_id: int, person: Person) -> None:
    key = hash_key(connection)
    with connection.transaction():
        connection.execute(PUBLISH_LOCK)
        completed(connection, person)
        _bury(connection, key, person)
        connection.execute(
            "update ops.privacy_certificates set state = 'running', person = %s where certificate_id = %s",
            [Jsonb(person.as_json()), certificate_id],
        )


@contextmanager
def _no_refresh(connection: psycopg.Connection[Any], wait_seconds: float) -> Iterator[None]:
    """Holds the refresh locks of all targets."""
    marks = {MARK} | {mark for (mark,) in connection.execute("select target from ops.bounds")}
    held: list[str] = []
    try:
        for mark in sorted(marks):
            take_lock(connection, mark, wait_seconds)
            held.append(mark)
        yield
    finally:
        for mark in held:
            connection.execute("select pg_advisory_unlock(hashtext('tidemark.refresh'), hashtext(%s))", [mark])


def _rebuild(server: Server, wait_seconds: float) -> None:
    with connect(server, autocommit=True) as connection:
        row = connection.execute("select completed_seq from ops.bounds where target = %s", [MARK]).fetchone()
    if row is None:
        # Where nothing was ever built there is nothing to forget.
        return
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            refresh(server, MARK, quiet=True)
            return
        except TidemarkError as error:
            if "Another refresh" not in str(error) or time.monotonic() > deadline:
                raise


def _drop_dev_targets(connection: psycopg.Connection[Any]) -> int:
    """Drop what analysts built beside production: they build it again."""
    dropped = 0
    marks = [mark for (mark,) in connection.execute("select target from ops.bounds where target <> %s", [MARK])]
    for mark in marks:
        with connection.transaction():
            for layer in LAYERS:
                schema = sql.Identifier(f"{mark}_{layer}")
                there = connection.execute(
                    "select exists (select from pg_namespace where nspname = %s)", [f"{mark}_{layer}"]
                ).fetchone()[0]
                if there:
                    connection.execute(sql.SQL("drop schema {} cascade").format(schema))
                    dropped += 1
            for table in ("bounds", "touched", "rebuilds", "model_state", "budget_alerts", "recommendation_sightings"):
                connection.execute(
                    sql.SQL("delete from ops.{} where target = %s").format(sql.Identifier(table)), [mark]
                )
    return dropped


def _forget_files(person: Person) -> Counter[str]:
    mentions = Mentions(person.ids)
    inbox = inbox_folder()
    changed, removed = forget_in_folders([inbox / DONE, inbox / BROKEN], mentions)
    _, exports = forget_in_folders([exports_folder()], mentions, whole_files=True)
    return Counter({"files changed": changed, "files removed": removed, "exports removed": exports})


def _later_aliases(connection: psycopg.Connection[Any], token: str) -> set[str]:
    """Anonymous ids that the marts, made anew, know to be the person's and that are not replaced yet."""
    if not connection.execute("select to_regclass('intermediate.int_identity_edges') is not null").fetchone()[0]:
        return set()
    rows = connection.execute(
        """
        select distinct anonymous_id from intermediate.int_identity_edges
        where starts_with(user_id, %(token)s) and not starts_with(anonymous_id, %(token)s)
        """,
        {"token": token},
    )
    return {anonymous for (anonymous,) in rows}


# Columns whose frequent values, as the planner keeps them, are among some texts.
KEPT_VALUES = """
select distinct schemaname, tablename, attname from pg_stats
where schemaname <> all('{pg_catalog, information_schema}') and (
    exists (
        select from unnest(%(distinctive)s::text[]) as one
        where strpos(concat_ws(' ', most_common_vals::text, histogram_bounds::text, most_common_elems::text), one) > 0
    )
    or most_common_vals::text::text[] && %(whole)s::text[]
    or histogram_bounds::text::text[] && %(whole)s::text[]
    or most_common_elems::text::text[] && %(whole)s::text[]
)
"""


def _clean_statistics(connection: psycopg.Connection[Any], person: Person, token: str) -> None:
    """Vacuum what was rewritten, and analyze whatever the planner keeps frequent values of the person from."""
    visitors = connection.execute(
        """
        select md5('user:' || one)::uuid::text from unnest(%(users)s::text[]) as one
        union all
        select md5('anonymous:' || one)::uuid::text from unnest(%(anonymous)s::text[]) as one
        """,
        {"users": sorted(person.users), "anonymous": sorted(person.anonymous)},
    ).fetchall()
    whole = person.ids | {visitor for (visitor,) in visitors}
    sought = {"whole": sorted(whole), "distinctive": sorted(filter(is_distinctive, whole))}
    tables = {(schema, table) for schema, table, _ in connection.execute(KEPT_VALUES, sought)}
    for schema, table in sorted(tables):
        connection.execute(sql.SQL("vacuum (analyze) {}").format(sql.Identifier(schema, table)))
    # An empty table is not analyzed: what is known of its columns goes when their type is said anew.
    for schema, table, column in connection.execute(KEPT_VALUES, sought).fetchall():
        held = sql.SQL("select exists (select from {})").format(sql.Identifier(schema, table))
        if connection.execute(held).fetchone()[0]:
            continue
        statement = sql.SQL("alter table {} alter column {} type {}").format(
            sql.Identifier(schema, table),
            sql.Identifier(column),
            sql.SQL(
                connection.execute(
                    "select format_type(atttypid, atttypmod) from pg_attribute"
                    " where attrelid = %s::regclass and attname = %s",
                    [f'"{schema}"."{table}"', column],
                ).fetchone()[0]
            ),
        )
        with suppress(psycopg.errors.FeatureNotSupported):
            # A view may stand on it: then its statistics go with the next row that comes in.
            connection.execute(statement)
