"""The requests of `raw.privacy_requests`, answered one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from ingest.hash_key import hash_key, keyed_hash
from orchestration.privacy.erasure import PREFIX, WAIT_SECONDS, erase, resume
from orchestration.privacy.export import export
from orchestration.privacy.opting import choose
from orchestration.privacy.person import Subject

TYPES = ("erase", "export", "opt_out", "opt_in")
PENDING = """
select distinct on (requested_at, content_hash)
    content_hash::text, request_type, user_id, anonymous_id, email, requested_at
from raw.privacy_requests
where
    request_type = any(%s)
    and content_hash not in (select content_hash from ops.privacy_answers where problem is null)
order by requested_at, content_hash
"""
NOT_ANSWERED = """
insert into ops.privacy_answers (content_hash, problem) values (%s, %s)
on conflict (content_hash) do update set problem = excluded.problem, answered_at = clock_timestamp()
"""


@dataclass(frozen=True)
class Answer:
    """What became of a request: `problem` says why it could not be answered. The person is not named."""

    content_hash: str
    request_type: str
    problem: str | None = None


def answer_requests(
    server: Server,
    types: Iterable[str] = TYPES,
    *,
    most: int | None = None,
    folder: Path | None = None,
    dry_run: bool = False,
    wait_seconds: float = WAIT_SECONDS,
) -> list[Answer]:
    """Answer the requests that are not answered yet, in the order in which they were made; at most so many.

    First finishes erasures that were killed. One that cannot be answered is kept with the reason, tried again the next
    time, and stops none of the others.

    Raises:
        TidemarkError: an unknown type; no key; a refresh that fails or takes too long.
    """
    wanted = sorted(set(types))
    if unknown := set(wanted) - set(TYPES):
        raise TidemarkError(f"There is no request {min(unknown)!r}: the types are {', '.join(TYPES)}.")
    if not dry_run:
        resume(server, wait_seconds=wait_seconds)
    with connect(server, autocommit=True) as connection:
        pending = connection.execute(PENDING, [wanted]).fetchall()[:most]
    if dry_run:
        return [Answer(content_hash, kind) for content_hash, kind, *_ in pending]
    answers = []
    for content_hash, kind, user_id, anonymous_id, email, requested_at in pending:
        problem = None
        try:
            with connect(server, autocommit=True) as connection:
                # An erasure in between may have replaced the ids.
                row = connection.execute(
                    "select user_id, anonymous_id, email from raw.privacy_requests where content_hash = %s limit 1",
                    [content_hash],
                ).fetchone()
            ids = row or (user_id, anonymous_id, email)
            if any(one and one.startswith(PREFIX) for one in ids):
                problem = "the person is erased" if kind == "export" else None
                _keep(server, content_hash, problem)
            else:
                _answer(server, kind, Subject(*ids), requested_at, content_hash, folder, wait_seconds)
        except TidemarkError as error:
            problem = str(error)
            _keep(server, content_hash, problem)
        answers.append(Answer(content_hash, kind, problem))
    return answers


def _answer(
    server: Server,
    kind: str,
    subject: Subject,
    requested_at: object,
    content_hash: str,
    folder: Path | None,
    wait_seconds: float,
) -> None:
    options = {"request_hash": content_hash, "wait_seconds": wait_seconds}
    if kind == "erase" or (kind in ("export", "opt_out") and _is_erased(server, subject)):
        # What an erased person asks for later names them again: it is answered by forgetting that too.
        erase(server, subject, asked_at=requested_at, **options)
    elif kind == "export":
        export(server, subject, folder, asked_at=requested_at, **options)
    else:
        choose(server, subject, kind, requested_at, **options)


def _is_erased(server: Server, subject: Subject) -> bool:
    with connect(server, autocommit=True) as connection:
        if not connection.execute("select exists (select from ops.tombstones)").fetchone()[0]:
            return False
        key = hash_key(connection)
        ids = [one for one in (subject.user_id, subject.anonymous_id, (subject.email or "").strip().lower()) if one]
        return connection.execute(
            "select exists (select from ops.tombstones where id_hash = any(%s))",
            [[keyed_hash(key, one) for one in ids]],
        ).fetchone()[0]


def _keep(server: Server, content_hash: str, problem: str | None) -> None:
    with connect(server, autocommit=True) as connection:
        connection.execute(NOT_ANSWERED, [content_hash, problem])
