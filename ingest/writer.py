"""The batch writer: an application's server appends records to files that the ingest reads.

    from ingest import BatchWriter

    writer = BatchWriter(app="shop")
    writer.track("order_placed", user_id="u_77", properties={"items": 3})

One writer per process, from any of its threads. Calls encode and return; a thread writes. See docs/batch-writer.md.
"""

import functools
import math
import os
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypedDict

from ingest.errors import TidemarkError
from ingest.landing.buffer import DROP_NEWEST, DROP_OLDEST, INVALID, Buffer, Settings
from ingest.landing.encode import encode

# Anything the loader reads as a time: without a zone it means UTC, numbers are epoch seconds or milliseconds.
Time = datetime | str | float
Identifier = str | int | uuid.UUID
Call = ParamSpec("Call")

# With one of these told, a record has its time, or its identity, already.
TIMES = frozenset(
    ("timestamp", "client_timestamp", "clientTimestamp", "created_at", "createdAt", "occurredAt", "identified_at",
     "identifiedAt")
)  # fmt: skip
EVENT_IDS = frozenset(("id", "eventId"))
IDENTIFY_IDS = EVENT_IDS | {"identify_id", "identifyId", "message_id", "messageId"}
REQUEST_IDS = frozenset(("id", "requestId", "message_id", "messageId"))
OF_FEEDBACK = frozenset(("rating", "score", "feedback", "comment", "type"))
MEBIBYTE = 1024 * 1024
# Seconds; locks cannot wait much longer.
LONGEST_WAIT = 86_400


class WriterStats(TypedDict):
    """Counts since the process began to use the writer: `accepted` = `written` + `pending`, and with
    `drop_oldest` + `dropped["overflow"]`. `dropped` counts by reason: overflow, too_large, invalid, closed.
    `files` were landed; `failures` are attempts to land one that failed."""

    accepted: int
    written: int
    pending: int
    dropped: dict[str, int]
    files: int
    failures: int


def unraised(
    method: "Callable[Concatenate[BatchWriter, Call], bool]",
) -> "Callable[Concatenate[BatchWriter, Call], bool]":
    """A call that never raises into the application: what goes wrong is counted, logged once, and False."""

    @functools.wraps(method)
    def call(self: "BatchWriter", /, *args: Call.args, **kwargs: Call.kwargs) -> bool:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self._buffer.drop(INVALID, f"{method.__name__}() cannot take it: {type(error).__name__}")
            return False

    return call


class BatchWriter:
    """Appends records to landing files in the inbox, in batches, from any thread.

    `inbox`: the folder; by default TIDEMARK_INBOX, else `.tidemark/inbox`. `app`: the app of records that name
    none. A file is written when `batch_size` records wait or `flush_seconds` have passed. At most `buffer_size`
    records and `buffer_bytes` bytes wait; beyond that `overflow` says which are dropped, and they are counted.

    Only the constructor raises (TidemarkError, for settings that cannot be). The four calls return whether the
    record was taken in; it is safe on disk when `flush()` returned True.
    """

    def __init__(
        self,
        inbox: str | os.PathLike[str] | None = None,
        app: str | None = None,
        *,
        batch_size: int = 100,
        flush_seconds: float = 5.0,
        buffer_size: int = 10_000,
        buffer_bytes: int = 64 * MEBIBYTE,
        overflow: Literal["drop_newest", "drop_oldest"] = DROP_NEWEST,
    ) -> None:
        check_whole("batch_size", batch_size)
        check_whole("buffer_size", buffer_size, batch_size)
        check_whole("buffer_bytes", buffer_bytes)
        if isinstance(flush_seconds, bool) or not isinstance(flush_seconds, int | float):
            raise TidemarkError(f"flush_seconds must be a number of seconds, not {flush_seconds!r}")
        if not (0 < flush_seconds < math.inf) or flush_seconds > LONGEST_WAIT:
            raise TidemarkError(f"flush_seconds must be more than 0 and at most {LONGEST_WAIT}, not {flush_seconds!r}")
        if overflow not in (DROP_NEWEST, DROP_OLDEST):
            raise TidemarkError(f"overflow must be {DROP_NEWEST!r} or {DROP_OLDEST!r}, not {overflow!r}")
        if app is not None and (not isinstance(app, str) or not app):
            raise TidemarkError(f"app must be a name or None, not {app!r}")
        folder = os.path.abspath(inbox_folder(inbox))
        self._app = app
        self._settings = Settings(folder, batch_size, float(flush_seconds), buffer_size, buffer_bytes, overflow)
        self._buffer = Buffer(self._settings)

    @unraised
    def track(
        self,
        event: str,
        *,
        user_id: Identifier | None = None,
        anonymous_id: Identifier | None = None,
        session_id: Identifier | None = None,
        properties: dict[str, Any] | None = None,
        occurred_at: Time | None = None,
        event_id: Identifier | None = None,
        **more: Any,
    ) -> bool:
        """A product event: its name, whose it is, when (now), and anything else it says.

        `more` are fields beside these, such as `event_category`, `page_url`, `revenue` or `workspace_id`; those
        without a column of their own are kept in the properties. `event_id` makes a record that is sent twice
        one event; without it the event gets an id of its own.
        """
        record = people(user_id, anonymous_id, session_id)
        record["event_name"] = event
        if event_id is not None or EVENT_IDS.isdisjoint(more):
            record["event_id"] = uuid.uuid4() if event_id is None else event_id
        return self._put("events", record, properties, occurred_at, more)

    @unraised
    def identify(
        self,
        user_id: Identifier | None = None,
        *,
        anonymous_id: Identifier | None = None,
        session_id: Identifier | None = None,
        email: str | None = None,
        name: str | None = None,
        properties: dict[str, Any] | None = None,
        occurred_at: Time | None = None,
        event_id: Identifier | None = None,
        **more: Any,
    ) -> bool:
        """Says that a session or an anonymous visitor is this user, known by id or e-mail address; `properties`
        are the user's traits."""
        record = people(user_id, anonymous_id, session_id)
        record.update(given(email=email, name=name))
        if event_id is not None or IDENTIFY_IDS.isdisjoint(more):
            record["event_id"] = uuid.uuid4() if event_id is None else event_id
        return self._put("identifies", record, properties, occurred_at, more)

    @unraised
    def llm_request(
        self,
        model: str | None = None,
        *,
        request_id: Identifier | None = None,
        user_id: Identifier | None = None,
        anonymous_id: Identifier | None = None,
        session_id: Identifier | None = None,
        provider: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost_usd: Any = None,
        latency_ms: float | None = None,
        properties: dict[str, Any] | None = None,
        occurred_at: Time | None = None,
        **more: Any,
    ) -> bool:
        """A request to a language model, or feedback on one.

        A request tells a model, tokens or a cost. Money is best a Decimal or a string: every digit is kept.
        Feedback names the `request_id` (or `message_id`, `chat_id`) it is about and a `rating` or `feedback`.
        """
        record = people(user_id, anonymous_id, session_id)
        record.update(
            given(
                request_id=request_id,
                model=model,
                provider=provider,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cost_usd=cost_usd,
                latency_ms=latency_ms,
            )
        )
        if request_id is None and REQUEST_IDS.isdisjoint(more) and OF_FEEDBACK.isdisjoint(more):
            record["request_id"] = uuid.uuid4()
        return self._put("llm_requests", record, properties, occurred_at, more)

    @unraised
    def session(
        self,
        session_id: Identifier,
        *,
        batch_id: Identifier | None = None,
        batch_seq: int | None = None,
        user_id: Identifier | None = None,
        anonymous_id: Identifier | None = None,
        started_at: Time | None = None,
        ended_at: Time | None = None,
        path_sequence: list[str] | None = None,
        path_timings: list[int] | None = None,
        goal_events: dict[str, Time] | None = None,
        llm_interactions: list[dict[str, Any]] | None = None,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> bool:
        """A snapshot of a session batch: what one visit looks like so far.

        Later snapshots of the same batch repeat its `batch_id` (a UUID) and `started_at` with longer paths and
        higher counters; without a `batch_id` this is a batch of its own. `path_timings` are milliseconds from the
        start. A call that tells only `llm_interactions` adds them to the session and is no visit.
        """
        record = people(user_id, anonymous_id, session_id)
        record["batch_id"] = uuid.uuid4() if batch_id is None else batch_id
        now = datetime.now(timezone.utc)
        only_llm = bool(llm_interactions) and path_sequence is None and goal_events is None
        if started_at is None and not only_llm and "startedAt" not in more:
            started_at = now
        if batch_seq is None and "batchSeq" not in more:
            batch_seq = int(now.timestamp() * 1000) if only_llm else 0
        record.update(
            given(
                batch_seq=batch_seq,
                started_at=started_at,
                ended_at=ended_at,
                path_sequence=path_sequence,
                path_timings=path_timings,
                goal_events=goal_events,
                llm_interactions=llm_interactions,
                metadata=metadata,
            )
        )
        return self._append("session_batches", record, more)

    def flush(self, timeout: float | None = None) -> bool:
        """Writes what waits, trying once. True: every record accepted before this call is in the inbox, synced
        to disk. False: it could not be written (it stays in the buffer), `timeout` seconds were over, or records
        were dropped by `drop_oldest` since the last flush. Never raises."""
        try:
            return self._buffer.flush(seconds(timeout))
        except Exception as error:
            self._buffer.say("internal", f"flush() failed: {error!r}")
            return False

    def close(self, timeout: float | None = None) -> bool:
        """Like `flush()`; afterwards records are dropped and counted as `closed`. Never raises."""
        try:
            return self._buffer.close(seconds(timeout))
        except Exception as error:
            self._buffer.say("internal", f"close() failed: {error!r}")
            return False

    def stats(self) -> WriterStats:
        """What became of the records of this process so far."""
        return self._buffer.stats()

    def __enter__(self) -> "BatchWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in a spawned process for example, has the settings and a buffer of its own."""
        return rebuilt, (self._app, self._settings)

    def _put(
        self,
        stream: str,
        record: dict[str, Any],
        properties: dict[str, Any] | None,
        occurred_at: Time | None,
        more: dict[str, Any],
    ) -> bool:
        """Adds time and properties to a record and hands it over."""
        if occurred_at is not None:
            record["occurred_at"] = occurred_at
        elif not more or TIMES.isdisjoint(more):
            record["occurred_at"] = datetime.now(timezone.utc)
        if properties is not None:
            record["properties"] = properties
        return self._append(stream, record, more)

    def _append(self, stream: str, record: dict[str, Any], more: dict[str, Any]) -> bool:
        """Encodes a record and puts it into the buffer."""
        if self._app is not None:
            record["app_id"] = self._app
        if more:
            record.update(more)
        return self._buffer.put(stream, encode(record))


def people(user_id: Any, anonymous_id: Any, session_id: Any) -> dict[str, Any]:
    """The beginning of a record: whose it is."""
    record: dict[str, Any] = {}
    if user_id is not None:
        record["user_id"] = user_id
    if anonymous_id is not None:
        record["anonymous_id"] = anonymous_id
    if session_id is not None:
        record["session_id"] = session_id
    return record


def given(**fields: Any) -> dict[str, Any]:
    """The fields that were told."""
    return {name: value for name, value in fields.items() if value is not None}


def seconds(timeout: Any) -> float | None:
    """A timeout that locks accept: not negative, not beyond a day."""
    return None if timeout is None else min(max(float(timeout), 0.0), LONGEST_WAIT)


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """TidemarkError for a setting that is no whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TidemarkError(f"{name} must be a whole number of at least {least}, not {value!r}")


def inbox_folder(told: str | os.PathLike[str] | None) -> str:
    """Where the inbox is: as told, else where `ingest.inbox` looks."""
    if told is None:
        told = os.environ.get("TIDEMARK_INBOX")
        if not told:
            from ingest.server import home_folder

            told = home_folder() / "inbox"
    if not isinstance(told, str | Path | os.PathLike) or not os.fspath(told):
        raise TidemarkError(f"inbox must be a folder, not {told!r}")
    return os.fsdecode(told)


def rebuilt(app: str | None, settings: Settings) -> BatchWriter:
    """A writer with these settings."""
    inbox, batch_size, flush_seconds, buffer_size, buffer_bytes, overflow = settings
    return BatchWriter(
        inbox,
        app,
        batch_size=batch_size,
        flush_seconds=flush_seconds,
        buffer_size=buffer_size,
        buffer_bytes=buffer_bytes,
        overflow=overflow,
    )
