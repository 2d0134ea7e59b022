"""Opting out and in: what a person did in between is left out by staging, and comes back when nothing else is said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg

from ingest.connection import Server
from ingest.errors import TidemarkError
from ingest.hash_key import hash_key, keyed_hash
from orchestration.privacy.erasure import WAIT_SECONDS, Certificate, one_at_a_time
from orchestration.privacy.person import STREAMS, Person, Subject, find

KINDS = {"user": "users", "anonymous": "anonymous", "session": "sessions"}
# Rows of these ids since then, whatever group they are in: what staging shows or hides of them is made anew.
TOUCH = " union ".join(
    f"""
    select session_group from raw.{stream}
    where (user_id = any(%(users)s) or anonymous_id = any(%(anonymous)s) or session_id = any(%(sessions)s))
    """
    for stream in STREAMS
    if stream != "costs"
)
TOUCH_COSTS = """
select cost_id from raw.costs
where user_id = any(%(users)s) or anonymous_id = any(%(anonymous)s) or session_id = any(%(sessions)s)
"""


def opt_out(server: Server, subject: Subject, *, at: datetime | None = None, **options: Any) -> Certificate:
    """Leave out what the person does from `at` on (now, if not told), until they opt in.

    The next refresh takes it out of the marts. Days before the horizon are closed and stay.
    """
    return choose(server, subject, "opt_out", at, **options)


def opt_in(server: Server, subject: Subject, *, at: datetime | None = None, **options: Any) -> Certificate:
    """Count the person again from `at` on. Of an erased person, ingest takes new rows again; the old ones are gone."""
    return choose(server, subject, "opt_in", at, **options)


def choose(
    server: Server,
    subject: Subject,
    choice: str,
    at: datetime | None = None,
    *,
    request_hash: str | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> Certificate:
    """Keep what a person chose, in one transaction. Choices may be told in any order: the newest before a moment holds.

    Raises:
        TidemarkError: nobody is named, or `at` lies in the future.
    """
    with one_at_a_time(server, wait_seconds) as connection, connection.transaction():
        now = connection.execute("select ops.clock()").fetchone()[0]
        at = at or now
        if at > now:
            raise TidemarkError("The choice lies in the future: it holds from when it is made.")
        person = find(connection, subject)
        if choice == "opt_in":
            _lift_tombstones(connection, person)
        connection.cursor().executemany(
            """
            insert into ops.privacy_choices (kind, subject_id, chosen_at, choice) values (%s, %s, %s, %s)
            on conflict do nothing
            """,
            [(kind, one, at, choice) for kind, ids in KINDS.items() for one in sorted(getattr(person, ids))],
        )
        connection.execute("select ops.settle_opt_outs(%s)", [sorted(person.ids)])
        touched = touch(connection, person)
        row = connection.execute(
            """
            insert into ops.privacy_certificates (action, counts, asked_at, finished_at, request_hash)
            values (%s, jsonb_build_object('session groups touched', %s::bigint), %s, clock_timestamp(), %s)
            returning certificate_id, action, token, state, counts
            """,
            [choice, touched, at, request_hash],
        ).fetchone()
        if request_hash:
            connection.execute(
                "insert into ops.privacy_answers (content_hash, certificate_id) values (%s, %s) on conflict do nothing",
                [request_hash, row[0]],
            )
        return Certificate(*row)


def touch(connection: psycopg.Connection[Any], person: Person) -> int:
    """List everything of the person for all targets; how many session groups that is."""
    ids = {name: sorted(getattr(person, name)) for name in KINDS.values()}
    touched = connection.execute(
        f"""
        insert into ops.touched (target, kind, key)
        select target, 'session_group', session_group from ops.bounds cross join ({TOUCH}) as told
        """,
        ids,
    ).rowcount
    connection.execute(
        f"""
        insert into ops.touched (target, kind, key)
        select distinct target, 'cost', cost_id from ops.bounds cross join ({TOUCH_COSTS}) as told
        """,
        ids,
    )
    return touched


def _lift_tombstones(connection: psycopg.Connection[Any], person: Person) -> None:
    if connection.execute("select exists (select from ops.tombstones)").fetchone()[0]:
        key = hash_key(connection)
        connection.execute(
            "delete from ops.tombstones where id_hash = any(%s)", [[keyed_hash(key, one) for one in person.ids]]
        )
