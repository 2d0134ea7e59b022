"""Stream `session_batches`: snapshots of a browser's session batch, and the server's rows beside them.

One record is one row: the body of the server action, the body of the page-hide beacon, a row of
`analytics_user_sessions`, or a server-side row that holds LLM interactions only. Inside it, every error, LLM
interaction, goal, counter and load time is checked by itself: a bad one is refused, the rest of the record
loads. With the first bad one the whole record is kept: an element alone is no snapshot that could be loaded
again, since what it adds to its batch depends on all the snapshot shows beside it. What a batch says of itself
that can be derived (entry, exit, type, totals) is kept in `properties`.

jsonb columns hold one spelling whatever the producer's: keys of errors and LLM interactions in snake_case,
times as 2026-03-02T09:00:00.000000Z, counts as whole numbers, so that equal content is equal text.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from ingest.streams import values as v
from ingest.streams.consent import denies, withheld_row
from ingest.streams.lines import MOST_KEYS
from ingest.streams.record import SEPARATOR, Decoded, Refused, content_hash, decode_values, refused
from ingest.streams.shape import Shape, merge
from ingest.streams.values import Refusal, is_absent

COLUMNS = (
    "session_id", "batch_id", "batch_seq", "user_id", "anonymous_id", "app_id",
    "started_at", "ended_at", "updated_at", "path_sequence", "path_timings",
    "interaction_summary", "goal_events", "feature_interactions", "page_load_times",
    "error_events", "llm_interactions", "metadata", "properties",
)  # fmt: skip
ALIASES = {
    "session_id": ("analytics_session_id",),
    "anonymous_id": ("visitor_id",),
    "app_id": ("chatbot_id", "funnel_id"),
}
# Sent by one producer or another and derivable from the rest: kept in properties under one spelling.
DERIVED = (
    "id", "created_at", "entry_point", "exit_point", "session_type", "conversion_achieved",
    "llm_token_usage", "llm_cost_estimate", "session_duration_ms", "pages_visited", "bounce_session",
)  # fmt: skip
APP_KEYS = ("app_id", "appId", "chatbotId", "chatbot_id", "funnelId", "funnel_id")
ANONYMOUS_PREFIX = "anon-"
# What stands for nothing in a row whose person did not consent.
WITHHELD = {
    "session_id": "withheld:{id}",
    "batch_id": "{id}",
    "batch_seq": "0",
    "error_events": "[]",
    "llm_interactions": "[]",
} | dict.fromkeys(
    (
        *("path_sequence", "path_timings", "interaction_summary", "goal_events", "feature_interactions"),
        *("page_load_times", "metadata", "properties"),
    ),
    "{}",
)
LARGEST_SEQUENCE = 2**62
WORD_START = re.compile(r"(?<=[a-z0-9])([A-Z])")
LLM_NAMES = {
    "model_id": "model",
    "total_tokens": "tokens",
    "cost_usd": "cost",
    "occurred_at": "timestamp",
    "created_at": "timestamp",
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
}
LLM_COUNTS = ("tokens", "prompt_tokens", "completion_tokens")

shape = Shape("SessionBatch", COLUMNS, ALIASES, DERIVED)
PLACE = shape.index

# Refuses one element: takes its place (from 1), its value and the error.
Refuse = Callable[[int, Any, Refusal], None]


class SessionBatches:
    """Decoder of the stream. `app` is the app of records that name none."""

    name = "session_batches"
    has_element = False
    columns = ("withheld", "session_group", "content_hash", *COLUMNS)

    def __init__(self, app: str | None = None) -> None:
        self.app = app

    def decode(self, record: bytes) -> Decoded:
        """One snapshot, and the elements of it that had to be refused."""
        refusals: list[Refused] = []

        def refuse(element: int, value: Any, error: Refusal) -> None:
            if len(refusals) == MOST_KEYS:
                raise Refusal(f"has more than {MOST_KEYS} bad elements", error.field)
            refusals.append(refused(v.canonical_encoder.encode(value), error, element))

        try:
            values, unknown = decode_values(shape, record)
            row = self.withheld_row(values) if denies(record) else self.row(values, unknown, refuse)
        except (ValueError, RecursionError) as error:
            return Decoded(1, [], (refused(record, error),))
        if refusals:
            refusals[0] = refusals[0]._replace(record=record)
        return Decoded(1 + len(refusals), [(0, row)], refusals)

    def row(self, values: list[Any], unknown: dict[str, Any], refuse: Refuse) -> str:
        """The columns of one snapshot."""

        def told(column: str) -> Any:
            return values[PLACE[column]]

        session_id = v.identifier(told("session_id"), "session_id")
        if not session_id:
            raise Refusal("is missing", "session_id")
        metadata = mapping(told("metadata"), "metadata")
        anonymous_id = v.identifier(told("anonymous_id"), "anonymous_id")
        if session_id.startswith(ANONYMOUS_PREFIX):
            anonymous_id = session_id
        app_id = v.identifier(told("app_id"), "app_id") or app_of(metadata) or self.app or ""
        started_at = v.timestamp(told("started_at"), "started_at")
        llm_interactions = checked(told("llm_interactions"), "llm_interactions", llm_interaction, refuse)
        if not started_at and not llm_interactions:
            raise Refusal("is missing, and no LLM interaction tells a time either", "started_at")
        properties = {name: told(name) for name in DERIVED if told(name) is not None}
        merge(properties, unknown, "record")
        merge(properties, mapping(told("properties"), "properties"), "properties")
        path_sequence, path_timings = path(told("path_sequence"), told("path_timings"))
        columns = (
            session_id,
            uuid(told("batch_id"), "batch_id"),
            str(v.whole(told("batch_seq"), "batch_seq", high=LARGEST_SEQUENCE) or 0),
            v.identifier(told("user_id"), "user_id"),
            anonymous_id,
            app_id,
            started_at,
            v.timestamp(told("ended_at"), "ended_at"),
            v.timestamp(told("updated_at"), "updated_at"),
            path_sequence,
            path_timings,
            checked_map(told("interaction_summary"), "interaction_summary", counter, refuse),
            checked_map(told("goal_events"), "goal_events", goal_time, refuse),
            checked_map(told("feature_interactions"), "feature_interactions", counter, refuse),
            checked_map(told("page_load_times"), "page_load_times", load_time, refuse),
            v.json(checked(told("error_events"), "error_events", error_event, refuse)),
            v.json(llm_interactions),
            v.json(metadata),
            v.json(properties),
        )
        content = SEPARATOR.join(columns)
        return SEPARATOR.join(("f", "s:" + session_id, content_hash(content), content))

    def withheld_row(self, values: list[Any]) -> str:
        """The row of a snapshot whose person did not consent."""
        app_id = v.identifier(values[PLACE["app_id"]], "app_id") or app_of(
            mapping(values[PLACE["metadata"]], "metadata")
        )
        started_at = v.timestamp(values[PLACE["started_at"]], "started_at")
        kept = {"app_id": app_id or self.app or "", "started_at": started_at}
        return withheld_row(self.columns, kept, WITHHELD)


def mapping(value: Any, field: str) -> dict[str, Any]:
    """A JSON object; absent means empty."""
    if is_absent(value):
        return {}
    if type(value) is not dict:
        raise Refusal(f"needs an object, not {v.shown(value)}", field)
    return value


def sequence(value: Any, field: str) -> list[Any]:
    """A JSON array; absent means empty."""
    if is_absent(value):
        return []
    if type(value) is not list:
        raise Refusal(f"needs an array, not {v.shown(value)}", field)
    return value


@lru_cache(maxsize=1024)
def uuid_text(value: str, field: str) -> str:
    """A UUID in its usual spelling."""
    try:
        return str(UUID(value))
    except ValueError:
        raise Refusal(f"needs a UUID, not {v.shown(value)}", field) from None


def uuid(value: Any, field: str) -> str:
    """A UUID, which must be there."""
    if is_absent(value):
        raise Refusal("is missing", field)
    if type(value) is not str:
        raise Refusal(f"needs a UUID, not {v.shown(value)}", field)
    return uuid_text(value, field)


def app_of(metadata: dict[str, Any]) -> str:
    """The app a snapshot's metadata names, if any."""
    for key in APP_KEYS:
        value = metadata.get(key)
        if type(value) in (str, int) and not is_absent(value):
            return v.identifier(value, "app_id")
    return ""


def path(pages: Any, timings: Any) -> tuple[str, str]:
    """Path and timings as array literals. They may differ in length and timings may fall: both are kept."""
    pages = sequence(pages, "path_sequence")
    for page in pages:
        if type(page) is not str:
            raise Refusal(f"needs an array of strings, not {v.shown(page)} in it", "path_sequence")
    milliseconds = []
    for timing in sequence(timings, "path_timings"):
        number = v.whole(timing, "path_timings", low=-v.LARGEST_COUNT, rounding=True)
        if number is None:
            raise Refusal("needs an array of numbers, not null in it", "path_timings")
        milliseconds.append(str(number))
    return v.text_array(pages), "{" + ",".join(milliseconds) + "}"


def checked(value: Any, field: str, check: Callable[[Any, str], Any], refuse: Refuse) -> list[Any]:
    """The good elements of an array, in its order."""
    good = []
    for element, item in enumerate(sequence(value, field), 1):
        if item is None:
            continue
        try:
            good.append(check(item, field))
        except Refusal as error:
            refuse(element, item, error)
    return good


def checked_map(value: Any, field: str, check: Callable[[Any, str], Any], refuse: Refuse) -> str:
    """The good entries of an object, as canonical JSON; absent values are no entries."""
    good = {}
    for element, (key, item) in enumerate(mapping(value, field).items(), 1):
        if is_absent(item):
            continue
        try:
            good[key] = check(item, field)
        except Refusal as error:
            refuse(element, {key: item}, error)
    return v.json(good)


def counter(value: Any, field: str) -> int:
    """How often something was done."""
    return v.whole(value, field)


def goal_time(value: Any, field: str) -> str:
    """When a goal was last reached."""
    return v.iso_microseconds(v.moment(value, field))


def load_time(value: Any, field: str) -> Any:
    """Milliseconds a page took, not negative, as measured."""
    return not_negative(value, field)


def not_negative(value: Any, field: str) -> Any:
    """A number of at least 0, below 10^15, exactly as told."""
    number = v.decimal(value, field)
    if number is None or not 0 <= number < 10**v.MONEY_INTEGER_DIGITS:
        raise Refusal(f"is out of range: {v.shown(value)}", field)
    return number


@lru_cache(maxsize=1024)
def snake(key: str) -> str:
    """`finishReason` as `finish_reason`."""
    return WORD_START.sub(r"_\1", key).lower()


def error_event(value: Any, field: str) -> dict[str, Any]:
    """An error `{type, page, time, message}`; `time` is ms from the batch's start and may be negative."""
    if type(value) is not dict:
        raise Refusal(f"needs objects, not {v.shown(value)}", field)
    error = {key: item for key, item in value.items() if item is not None}
    for key in ("type", "page", "message"):
        if key in error:
            error[key] = v.text(error[key], f"{field}.{key}")
            if not error[key]:
                del error[key]
    if "type" not in error:
        raise Refusal("is missing", f"{field}.type")
    time = v.whole(error.get("time"), f"{field}.time", low=-v.LARGEST_COUNT, rounding=True)
    if time is None:
        raise Refusal("is missing", f"{field}.time")
    error["time"] = time
    return error


def llm_interaction(value: Any, field: str) -> dict[str, Any]:
    """An LLM interaction `{model, tokens, cost, timestamp}` with whatever else its producer knew."""
    if type(value) is not dict:
        raise Refusal(f"needs objects, not {v.shown(value)}", field)
    interaction = {snake(key): item for key, item in value.items() if item is not None}
    for alias, name in LLM_NAMES.items():
        if alias in interaction and is_absent(interaction.get(name)):
            interaction[name] = interaction.pop(alias)
    model = v.identifier(interaction.get("model"), f"{field}.model")
    if not model:
        raise Refusal("is missing", f"{field}.model")
    interaction["model"] = model
    time = v.moment(interaction.get("timestamp"), f"{field}.timestamp")
    if time is None:
        raise Refusal("is missing", f"{field}.timestamp")
    interaction["timestamp"] = v.iso_microseconds(time)
    for name in LLM_COUNTS:
        if name in interaction:
            number = v.whole(interaction.pop(name), f"{field}.{name}")
            if number is not None:
                interaction[name] = number
    if "cost" in interaction:
        digits = v.cost(interaction.pop("cost"), f"{field}.cost")
        if digits:
            interaction["cost"] = msgspec.Raw(digits.encode())
    return interaction
