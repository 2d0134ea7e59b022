"""Who is meant: a person by any of their ids, and all the ids that are theirs."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg

from ingest.errors import TidemarkError

STREAMS = ("session_batches", "events", "llm_requests", "identifies", "costs")
LONGEST_ID = 255
# Keys of an identify call's traits that hold an address, as staging knows them.
ADDRESSES = ("email", "user_email", "userEmail", "email_address", "emailAddress")

ROWS = " union all ".join(f"select user_id, anonymous_id, session_id from raw.{stream}" for stream in STREAMS)
ADDRESS = f"""
select lower(btrim(address)) as address, user_id, anonymous_id
from raw.identifies
cross join lateral (
    values (email), {", ".join(f"(properties ->> '{key}')" for key in ADDRESSES)}
) as told (address)
where address is not null
"""
# One record that names both; what models found out of sessions and batches besides, as far as they are built.
EDGES = f"""
select anonymous_id, user_id from ({ROWS}) as told where anonymous_id is not null and user_id is not null
union
select anonymous_id, user_id from history.closed_edges
union
select anonymous_id, user_id from history.closed_merges
"""
BUILT_EDGES = "union select anonymous_id, user_id from intermediate.int_identity_edges"
# A session that somebody else was in too is not the person's alone.
SESSIONS = f"""
select session_id
from ({ROWS}) as told
where session_id in (
    select session_id from ({ROWS}) as own
    where user_id = any(%(users)s) or (user_id is null and anonymous_id = any(%(anonymous)s))
)
group by session_id
having count(*) filter (where user_id <> all(%(users)s)) = 0
"""


@dataclass(frozen=True)
class Subject:
    """A person as somebody asks for them: by one id or several of the same person."""

    user_id: str | None = None
    anonymous_id: str | None = None
    email: str | None = None

    def __post_init__(self) -> None:
        told = [one for one in (self.user_id, self.anonymous_id, self.email) if one]
        if not told:
            raise TidemarkError("Nobody is named: give a user id, an anonymous id or an e-mail address.")
        if any(len(one) > LONGEST_ID or "\0" in one for one in told):
            raise TidemarkError(f"An id is at most {LONGEST_ID} characters long, without NUL.")
        if self.email and "@" not in self.email:
            raise TidemarkError("That is no e-mail address.")


@dataclass
class Person:
    """All ids of one person."""

    users: set[str] = field(default_factory=set)
    anonymous: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)
    # What names that stand for this person's texts are made with; forgotten with the ids.
    salt: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def ids(self) -> set[str]:
        """Every id, whatever its kind."""
        return self.users | self.anonymous | self.sessions | self.emails

    @property
    def groups(self) -> set[str]:
        """The session groups that such ids make."""
        kinds = {"u:": self.users, "a:": self.anonymous, "s:": self.sessions}
        return {kind + one for kind, ids in kinds.items() for one in ids}

    def as_json(self) -> dict[str, Any]:
        return {kind: told if kind == "salt" else sorted(told) for kind, told in asdict(self).items()}

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Person:
        return cls(**{kind: one if kind == "salt" else set(one) for kind, one in told.items()})


def find(connection: psycopg.Connection[Any], subject: Subject) -> Person:
    """All ids of the person.

    An anonymous id stands for the one user who signed in under it. Users are never merged, but by an e-mail address
    all of its users are meant.

    Raises:
        TidemarkError: the anonymous id was several users' (a shared device), so whom it means is not known.
    """
    person = Person()
    if subject.email:
        address = subject.email.strip().lower()
        person.emails.add(address)
        for user, anonymous in connection.execute(
            f"select distinct user_id, anonymous_id from ({ADDRESS}) as told where address = %s", [address]
        ):
            if user:
                person.users.add(user)
            elif anonymous:
                person.anonymous.add(anonymous)
    if subject.user_id:
        person.users.add(subject.user_id)
    edges = EDGES + (BUILT_EDGES if _is_built(connection) else "")
    if subject.anonymous_id:
        person.anonymous.add(subject.anonymous_id)
        users = _column(
            connection,
            f"select distinct user_id from ({edges}) as edges where anonymous_id = %s",
            [subject.anonymous_id],
        )
        if len(users | person.users) > 1 and not users & person.users:
            raise TidemarkError(
                f"The anonymous id belongs to {len(users)} users, a shared device: say which by their user id."
            )
        person.users |= users if not person.users else set()
    return completed(connection, person, edges)


def completed(connection: psycopg.Connection[Any], person: Person, edges: str | None = None) -> Person:
    """With the aliases, sessions and addresses of the person's users."""
    edges = edges or EDGES + (BUILT_EDGES if _is_built(connection) else "")
    person.anonymous |= _column(
        connection,
        f"select distinct anonymous_id from ({edges}) as edges where user_id = any(%s)",
        [sorted(person.users)],
    )
    known = {"users": sorted(person.users), "anonymous": sorted(person.anonymous)}
    person.sessions |= _column(connection, SESSIONS, known)
    person.emails |= _column(
        connection,
        f"""
        select distinct address from ({ADDRESS}) as told
        where user_id = any(%(users)s) or (user_id is null and anonymous_id = any(%(anonymous)s))
        """,
        known,
    )
    return person


def _column(connection: psycopg.Connection[Any], statement: str, values: Any) -> set[str]:
    return {value for (value,) in connection.execute(statement, values)}


def _is_built(connection: psycopg.Connection[Any]) -> bool:
    return connection.execute("select to_regclass('intermediate.int_identity_edges') is not null").fetchone()[0]
