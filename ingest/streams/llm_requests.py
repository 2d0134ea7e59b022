"""Stream `llm_requests`: one row per LLM request, or per feedback on one.

A record is feedback when its `type` says so (`feedback`, `rating`), or when it rates something and tells no
model, tokens or cost; it must name the request, message or chat it is about. Token counts and other figures
may also come in an object `usage` or `metrics`, and ids of workspace, project, team, organisation and feature
in `properties` (or `metadata`): they are copied to their columns when missing above.
"""

from typing import Any

from ingest.streams import values as v
from ingest.streams.consent import denies, withheld_row
from ingest.streams.record import SEPARATOR, Decoded, content_hash, decode_values, refused
from ingest.streams.shape import Shape, camel, merge
from ingest.streams.values import Converter, Refusal, is_absent

COLUMNS: dict[str, Converter] = {
    "request_id": v.identifier,
    "message_id": v.identifier,
    "chat_id": v.identifier,
    "app_id": v.identifier,
    "session_id": v.identifier,
    "anonymous_id": v.identifier,
    "user_id": v.identifier,
    "occurred_at": v.timestamp,
    "model": v.identifier,
    "model_name": v.text,
    "provider": v.identifier,
    "input_tokens": v.count,
    "output_tokens": v.count,
    "total_tokens": v.count,
    "cached_tokens": v.count,
    "cache_write_tokens": v.count,
    "reasoning_tokens": v.count,
    "latency_ms": v.milliseconds,
    "status_code": v.integer,
    "status": v.text,
    "finish_reason": v.text,
    "error_message": v.prose,
    "stopped": v.boolean,
    "regenerated": v.boolean,
    "was_routed": v.boolean,
    "router_confidence": v.money,
    "baseline_model": v.identifier,
    "feature_id": v.identifier,
    "workspace_id": v.identifier,
    "project_id": v.identifier,
    "team_id": v.identifier,
    "org_id": v.identifier,
    "plan": v.text,
    "cost_usd": v.cost,
    "rating": v.money,
    "feedback": v.text,
    "service_tier": v.identifier,
    "cache_write_1h_tokens": v.count,
    "input_audio_tokens": v.count,
    "output_audio_tokens": v.count,
    "input_includes_cached": v.boolean,
}
# Columns that came later: without any of them a record's content hash is what it was before.
LATER = 5
ALIASES = {
    "request_id": ("id", "response_id"),
    "chat_id": ("conversation_id",),
    "app_id": ("chatbot_id", "funnel_id"),
    "session_id": ("analytics_session_id",),
    "anonymous_id": ("visitor_id",),
    "occurred_at": ("timestamp", "created_at", "client_timestamp"),
    "model": ("model_id", "response_model"),
    "provider": ("provider_name",),
    "input_tokens": ("prompt_tokens",),
    "output_tokens": ("completion_tokens",),
    "total_tokens": ("tokens",),
    "cached_tokens": ("cache_read_tokens", "cached_input_tokens", "cache_read_input_tokens"),
    "cache_write_tokens": ("cache_creation_tokens", "cache_creation_input_tokens"),
    "reasoning_tokens": ("reasoning_output_tokens", "thinking_tokens"),
    "service_tier": ("processing", "requested_service_tier"),
    "latency_ms": ("response_time_ms", "response_time", "latency", "duration_ms"),
    "error_message": ("error",),
    "baseline_model": ("baseline_model_id",),
    "feature_id": ("feature",),
    "org_id": ("organization_id",),
    "cost_usd": ("cost",),
    "rating": ("score",),
    "feedback": ("comment",),
    "properties": ("metadata", "props"),
}
# OpenTelemetry's names for the same figures, of today and of before.
LITERAL = {
    "gen_ai.request.model": "model_id",
    "gen_ai.response.model": "response_model",
    "gen_ai.response.id": "response_id",
    "gen_ai.conversation.id": "conversation_id",
    "gen_ai.system": "provider",
    "gen_ai.provider.name": "provider_name",
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.prompt_tokens": "prompt_tokens",
    "gen_ai.usage.completion_tokens": "completion_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cached_tokens",
    "gen_ai.usage.cache_read_input_tokens": "cache_read_input_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    "gen_ai.usage.cache_creation_input_tokens": "cache_creation_input_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
    "openai.response.service_tier": "service_tier",
    "gen_ai.openai.response.service_tier": "service_tier",
    "openai.request.service_tier": "requested_service_tier",
    "gen_ai.openai.request.service_tier": "requested_service_tier",
}
# By its convention input tokens hold the cached ones, whatever the provider's own count is.
INCLUDES_CACHED = b'"gen_ai.usage.input_tokens"'
# Objects inside `usage` that say what tokens a count is made of, and the columns their figures mean.
OF_INPUT = {
    "cached_tokens": "cached_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "audio_tokens": "input_audio_tokens",
}
OF_OUTPUT = {"reasoning_tokens": "reasoning_tokens", "audio_tokens": "output_audio_tokens"}
DETAILS = {
    "prompt_tokens_details": OF_INPUT,
    "input_tokens_details": OF_INPUT,
    "completion_tokens_details": OF_OUTPUT,
    "output_tokens_details": OF_OUTPUT,
    "cache_creation": {"ephemeral_1h_input_tokens": "cache_write_1h_tokens"},
}
NESTED = ("usage", "metrics")
PROMOTED = (
    "app_id", "workspace_id", "project_id", "team_id", "org_id", "plan", "feature_id", "chat_id", "message_id",
)  # fmt: skip
FEEDBACK_TYPES = ("feedback", "rating")

shape = Shape("LlmRequest", (*COLUMNS, "properties"), ALIASES, ("type", *NESTED), LITERAL)
NAMES, CONVERT = tuple(COLUMNS), tuple(COLUMNS.values())
PLACE = shape.index
REQUEST, MESSAGE, CHAT, APP = (PLACE[n] for n in ("request_id", "message_id", "chat_id", "app_id"))
SESSION, ANONYMOUS, USER = (PLACE[n] for n in ("session_id", "anonymous_id", "user_id"))
INCLUDES = PLACE["input_includes_cached"]
OCCURRED, RATING, FEEDBACK, TYPE = (PLACE[n] for n in ("occurred_at", "rating", "feedback", "type"))
REQUEST_PLACES = tuple(PLACE[n] for n in ("model", "input_tokens", "output_tokens", "total_tokens", "cost_usd"))
PROMOTED_KEYS = {key: PLACE[name] for name in PROMOTED for key in (name, camel(name))}


class LlmRequests:
    """Decoder of the stream. `app` is the app of records that name none."""

    name = "llm_requests"
    has_element = True
    columns = ("withheld", "session_group", "content_hash", "record_type", *COLUMNS, "properties")

    def __init__(self, app: str | None = None) -> None:
        self.app = app

    def decode(self, record: bytes) -> Decoded:
        """One request or one feedback."""
        try:
            values, unknown = decode_values(shape, record)
            if INCLUDES_CACHED in record and values[INCLUDES] is None:
                values[INCLUDES] = True
            row = self.withheld_row(values) if denies(record) else self.row(values, unknown)
            return Decoded(1, [(0, row)])
        except (ValueError, RecursionError) as error:
            return Decoded(1, [], (refused(record, error),))

    def row(self, values: list[Any], unknown: dict[str, Any]) -> str:
        """The columns of one record."""
        properties = values[PLACE["properties"]]
        if is_absent(properties):
            properties = {}
        elif type(properties) is not dict:
            raise Refusal(f"needs an object, not {v.shown(properties)}", "properties")
        for name in NESTED:
            if values[PLACE[name]] is not None:
                take_nested(values, name, values[PLACE[name]], unknown)
        if values[RATING] is not None:
            take_rating(values, unknown)
        row = [
            "" if value is None else convert(value, name)
            for name, convert, value in zip(NAMES, CONVERT, values, strict=False)
        ]
        kind = v.text(values[TYPE], "type")
        record_type = type_of(row, kind)
        if kind and kind != record_type:
            unknown["type"] = kind
        if not row[OCCURRED]:
            raise Refusal("is missing: give timestamp, created_at or occurred_at", "occurred_at")
        if unknown:
            properties = dict(properties)
            merge(properties, unknown, "record")
        if properties:
            promote(row, properties)
        if self.app and not row[APP]:
            row[APP] = self.app
        row.append(v.json(properties) if properties else "{}")
        content = SEPARATOR.join((record_type, *row))
        digest = content_hash(hashed(record_type, row))
        if row[SESSION]:
            group = "s:" + row[SESSION]
        elif row[ANONYMOUS]:
            group = "a:" + row[ANONYMOUS]
        elif row[USER]:
            group = "u:" + row[USER]
        else:
            group = "e:" + (row[REQUEST] or row[MESSAGE] or digest)
        return SEPARATOR.join(("f", group, digest, content))

    def withheld_row(self, values: list[Any]) -> str:
        """The row of a record whose person did not consent."""
        kept = {NAMES[place]: CONVERT[place](values[place], NAMES[place]) for place in (APP, OCCURRED)}
        kept["app_id"] = kept["app_id"] or self.app or ""
        kept["record_type"] = "feedback" if values[TYPE] in FEEDBACK_TYPES else "request"
        if not kept["occurred_at"]:
            raise Refusal("is missing: give timestamp, created_at or occurred_at", "occurred_at")
        return withheld_row(self.columns, kept, {"properties": "{}"})


def hashed(record_type: str, row: list[str]) -> str:
    """What of a row's content tells it from others."""
    *told, properties = row
    later = told[-LATER:]
    return SEPARATOR.join((record_type, *told[:-LATER], properties, *(later if any(later) else ())))


def type_of(row: list[str], kind: str) -> str:
    """`feedback` or `request`; refuses what has nothing of either."""
    is_request = any(row[place] for place in REQUEST_PLACES)
    rates = bool(row[RATING] or row[FEEDBACK])
    if kind in FEEDBACK_TYPES or (rates and not is_request):
        if not (row[REQUEST] or row[MESSAGE] or row[CHAT]):
            raise Refusal("is missing: feedback names a request, message or chat", "request_id")
        if not rates:
            raise Refusal("is missing: feedback has a rating or feedback", "rating")
        return "feedback"
    if not is_request:
        raise Refusal("is missing: a request has a model, tokens or a cost", "model")
    return "request"


def take_rating(values: list[Any], unknown: dict[str, Any]) -> None:
    """A rating that is no number: true counts 1, false 0, and a verdict in words ("positive") is feedback;
    where feedback is told too, both are kept."""
    rating = values[RATING]
    if type(rating) is bool:
        values[RATING] = int(rating)
    elif type(rating) is str and not is_absent(rating) and not v.NUMBER_TEXT.fullmatch(rating.strip()):
        values[RATING] = None
        if is_absent(values[FEEDBACK]):
            values[FEEDBACK] = rating
        else:
            unknown["rating"] = rating


def take_nested(values: list[Any], name: str, nested: Any, unknown: dict[str, Any]) -> None:
    """Fills columns from an object such as `usage`; keys that mean nothing here stay in it."""
    if type(nested) is not dict:
        unknown[name] = nested
        return
    inner, rest = shape.resolve(with_details(nested))
    shape.collapse(inner, rest)
    for column in COLUMNS:
        value = inner[PLACE[column]]
        if value is None or is_absent(value):
            continue
        if is_absent(values[PLACE[column]]):
            values[PLACE[column]] = value
        elif values[PLACE[column]] != value:
            rest[column] = value
    for attribute in ("properties", "type", *NESTED):
        if inner[PLACE[attribute]] is not None:
            rest[attribute] = inner[PLACE[attribute]]
    if rest:
        unknown[name] = rest


def with_details(nested: dict[str, Any]) -> dict[str, Any]:
    """The object with the figures of its details lifted out, where it does not tell them itself."""
    found = dict(nested)
    for name, figures in DETAILS.items():
        details = nested.get(name, nested.get(camel(name)))
        if type(details) is dict:
            for key, column in figures.items():
                value = details.get(key, details.get(camel(key)))
                if value is not None and not any(found.get(spelled) for spelled in (column, camel(column))):
                    found[column] = value
    return found


def promote(row: list[str], properties: dict[str, Any]) -> None:
    """Copies ids that `properties` tells and the record does not."""
    copied: set[int] = set()
    for key, value in properties.items():
        place = PROMOTED_KEYS.get(key)
        if place is None or (row[place] and not (place in copied and "_" in key)):
            continue
        try:
            row[place] = CONVERT[place](value, NAMES[place])
        except Refusal:
            continue
        copied.add(place)
