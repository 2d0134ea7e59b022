"""Stream `events`: from what the producers send to rows of raw.events.

Four shapes arrive: a POST body `{chatbotId, sessionId, ..., events: [...]}` whose every element is an event
that inherits the body's fields where it lacks them, and flat records that name the event `eventName`,
`type` or `action`. The object `properties` (or `metadata`, `props`) becomes the column `properties`, with
keys no column knows merged in: a key that both have keeps the object's value, and the other value is kept as
`record.<key>` (from a POST body: `envelope.<key>`).

From `properties`, a user id and a time are lifted out when the record has none above. Ids of workspace,
project, team and organisation, plan, revenue, currency, campaign and page fields are copied to their columns
when missing above, and stay. A copy that does not fit its column is left where it is; ids of sessions are
never taken from there, since products use that name for other things.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from ingest.streams import values as v
from ingest.streams.consent import denies, withheld_row
from ingest.streams.lines import MOST_KEYS, check_limits
from ingest.streams.plain import PlainEvents, Rules
from ingest.streams.record import SEPARATOR, Decoded, Refused, content_hash, decode_values, refused
from ingest.streams.retention import classifier
from ingest.streams.shape import Shape, camel, merge
from ingest.streams.values import Converter, Refusal, is_absent


def as_chosen(value: str, field: str) -> str:
    """The time `choose_time` has settled on, already text."""
    return value


COLUMNS: dict[str, Converter] = {
    "event_id": v.identifier,
    "event_name": v.identifier,
    "event_category": v.identifier,
    "app_id": v.identifier,
    "session_id": v.identifier,
    "anonymous_id": v.identifier,
    "user_id": v.identifier,
    "occurred_at": as_chosen,
    "page_url": v.text,
    "page_title": v.text,
    "referrer": v.text,
    "landing_page": v.text,
    "utm_source": v.text,
    "utm_medium": v.text,
    "utm_campaign": v.text,
    "utm_term": v.text,
    "utm_content": v.text,
    "user_agent": v.text,
    "ip_address": v.network_address,
    "device_type": v.text,
    "browser_name": v.text,
    "browser_version": v.text,
    "os_name": v.text,
    "os_version": v.text,
    "screen_width": v.integer,
    "screen_height": v.integer,
    "country_code": v.text,
    "city": v.text,
    "workspace_id": v.identifier,
    "project_id": v.identifier,
    "team_id": v.identifier,
    "org_id": v.identifier,
    "plan": v.text,
    "is_conversion": v.boolean,
    "revenue": v.money,
    "currency": v.text,
}
ALIASES = {
    "event_id": ("id",),
    "event_name": ("event", "action", "type"),
    "event_category": ("category",),
    "app_id": ("chatbot_id", "funnel_id"),
    "anonymous_id": ("visitor_id",),
    "page_url": ("url", "page"),
    "ip_address": ("ip",),
    "properties": ("metadata", "props"),
}
TIMES = ("client_timestamp", "timestamp", "created_at")
PROMOTED = (
    "workspace_id", "project_id", "team_id", "org_id", "plan", "revenue", "currency",
    "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "page_url", "referrer", "landing_page",
)  # fmt: skip
MOST_SKEW = timedelta(hours=24)
# What S1's increments and session rows count, by what a producer calls it.
COUNTERS = {
    "sent": "messages_sent",
    "received": "messages_received",
    "opened": "widget_opened_count",
    "minimized": "widget_minimized_count",
}
SESSION_COUNTERS = tuple(COUNTERS.values())
COUNTERS |= {key: name for name in SESSION_COUNTERS for key in (name, camel(name))}
UPSERT, INCREMENT = "session_upsert", "session_increment"
COUNTING_NAMES = frozenset((UPSERT, INCREMENT, *COUNTERS))
# What the events of one POST body may together repeat of the body, in bytes: they are in memory at once.
MOST_REPEATED = 32 * 1024 * 1024

shape = Shape("Event", (*COLUMNS, "properties"), ALIASES, TIMES)
NAMES, CONVERT = tuple(COLUMNS), tuple(COLUMNS.values())
ID, NAME, CATEGORY, APP = (shape.index[n] for n in ("event_id", "event_name", "event_category", "app_id"))
SESSION, ANONYMOUS, USER = (shape.index[n] for n in ("session_id", "anonymous_id", "user_id"))
OCCURRED, PROPERTIES = shape.index["occurred_at"], shape.index["properties"]
ID_ALIAS, TYPE = shape.index["id"], shape.index["type"]
CLIENT_TIME, SERVER_TIME, CREATED = (shape.index[n] for n in TIMES)
SESSION_ROW_KEYS = (*COUNTERS, "started_at", "is_new")
LANDING_FIELDS = tuple(shape.index[n] for n in ("landing_page", "referrer", "user_agent", "screen_width"))
TIME_PLACES = (CLIENT_TIME, SERVER_TIME, CREATED, OCCURRED)
# What a POST body says of itself, not of the events in it.
NOT_INHERITED = tuple(shape.index[n] for n in ("event_id", "event_name", "is_conversion", "revenue"))
INHERITED = frozenset(shape.index[n] for n in COLUMNS) - {*NOT_INHERITED, OCCURRED}
PROMOTED_KEYS = {key: shape.index[name] for name in PROMOTED for key in (name, camel(name))}
RULES = Rules(
    columns=COLUMNS,
    column_of_key={key: "occurred_at" if name in TIMES else name for key, name in shape.columns_of_keys().items()},
    not_inherited=frozenset((*(NAMES[place] for place in NOT_INHERITED), "occurred_at", "properties")),
    special_names=COUNTING_NAMES,
    special_properties=frozenset((*PROMOTED_KEYS, "userId", "user_id")),
)


def envelope_decoder() -> msgspec.json.Decoder:
    """Decodes the widget's POST body: ids in camelCase, the rest and the events in snake_case."""
    names = {name: name for name in shape.attributes} | {"chatbot_id": "chatbotId", "session_id": "sessionId"}
    fields = [(name, Any, None) for name in shape.attributes]
    envelope = msgspec.defstruct(
        "EventEnvelope", [("events", list[shape.snake]), *fields], rename=names, forbid_unknown_fields=True, gc=False
    )
    return msgspec.json.Decoder(envelope, float_hook=v.exact)


class Events:
    """Decoder of the stream. `app` is the app of records that name none."""

    name = "events"
    has_element = True
    columns = ("withheld", "retention_class", "session_group", "content_hash", *COLUMNS, "properties")

    def __init__(self, app: str | None = None) -> None:
        self.app = app
        self.retention_class = classifier()
        self.envelopes = envelope_decoder()
        self.take_plain = PlainEvents(RULES, app, self.retention_class).take

    def decode(self, record: bytes) -> Decoded:
        """One event, or all events of one POST body; the elements of a body count from 1."""
        try:
            if b'"events"' in record:
                return self.decode_envelope(record)
            return Decoded(1, [(0, self.row(*decode_values(shape, record), withheld=denies(record)))])
        except (ValueError, RecursionError) as error:
            return Decoded(1, [], (refused(record, error),))

    def decode_envelope(self, record: bytes) -> Decoded:
        """All events of a POST body. The usual body decodes in one go; one with anything odd in it again,
        element by element."""
        try:
            check_limits(record)
            if denies(record, with_events=True):
                return self.decode_odd_envelope(record)
            envelope = self.envelopes.decode(record)
            if len(record) * len(envelope.events) > MOST_REPEATED:
                return self.decode_odd_envelope(record)
            above = list(msgspec.structs.astuple(envelope)[1:])
            unknown: dict[str, Any] = {}
            shape.collapse(above, unknown)
            body = Body(above, unknown)
            rows = []
            for element, event in enumerate(envelope.events, 1):
                below: dict[str, Any] = {}
                values = list(msgspec.structs.astuple(event))
                shape.collapse(values, below)
                rows.append((element, self.row(values, below, body)))
            if rows:
                return Decoded(len(rows), rows)
        except (ValueError, RecursionError):
            pass
        return self.decode_odd_envelope(record)

    def decode_odd_envelope(self, record: bytes) -> Decoded:
        """A POST body element by element: a bad one is refused by itself, in a body of its own that can be
        loaded again once mended."""
        told = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
        raw_events = told.pop("events", None)
        if raw_events is None or not bytes(raw_events).startswith(b"["):
            # The text "events" was a value or a deeper key, or no list: a flat record like any other.
            return Decoded(1, [(0, self.row(*decode_values(shape, record), withheld=denies(record)))])
        elements = msgspec.json.decode(raw_events, type=list[msgspec.Raw])
        if not elements:
            raise Refusal("holds no events", "events")
        if len(elements) > MOST_KEYS:
            raise Refusal(f"holds more than {MOST_KEYS} events", "events")
        repeated = (len(record) - len(bytes(raw_events))) * len(elements)
        if repeated > MOST_REPEATED:
            raise Refusal(f"repeat {repeated} bytes of the body, more than {MOST_REPEATED}: send fewer", "events")
        rows = []
        refusals: list[Refused] = []
        alone = msgspec.json.encode(told)
        above, unknown = decode_values(shape, alone)
        all_withheld = denies(alone)
        for element, raw in enumerate(elements, 1):
            try:
                body = Body(above, unknown)
                values, below = decode_values(shape, bytes(raw))
                withheld = all_withheld or denies(bytes(raw))
                rows.append((element, self.row(values, below, body, withheld)))
            except (ValueError, RecursionError) as error:
                alone = msgspec.json.encode({**told, "events": [raw]})
                refusals.append(refused(alone, error, element))
        return Decoded(len(elements), rows, refusals)

    def row(
        self, values: list[Any], unknown: dict[str, Any], body: "Body | None" = None, withheld: bool = False
    ) -> str:
        """One event's columns, from its collapsed values and unknown keys, and from the POST body it came in."""
        properties = object_of(values[PROPERTIES], "properties")
        if body is not None:
            for place in TIME_PLACES:
                if values[place] is None:
                    values[place] = body.times[place]
        if values[NAME] is None or is_absent(values[NAME]):
            name_by_shape(values, unknown, alone=body is None)
        if type(values[NAME]) is str and values[NAME] in COUNTING_NAMES:
            tell_counters(values, unknown, properties, alone=body is None)
        choose_time(values, unknown, properties)
        if withheld:
            return self.withheld_row(values, body)
        if properties and is_absent(values[USER]) and not (body and body.columns[USER]):
            lift(values, USER, properties, ("userId", "user_id"))
        if unknown:
            merge(properties, unknown, "record")
        if body is None:
            row = [
                "" if value is None else convert(value, name)
                for name, convert, value in zip(NAMES, CONVERT, values, strict=False)
            ]
        else:
            row = [
                inherited if value is None else convert(value, name) or inherited
                for name, convert, value, inherited in zip(NAMES, CONVERT, values, body.columns, strict=False)
            ]
            if body.extra:
                merge(properties, body.extra, "envelope")
        if properties:
            promote(row, properties)
            row.append(v.json(properties))
        else:
            row.append("{}")
        if self.app and not row[APP]:
            row[APP] = self.app
        content = SEPARATOR.join(row)
        digest = content_hash(content)
        if not row[ID]:
            row[ID] = digest
            content = digest + content
        if row[SESSION]:
            group = "s:" + row[SESSION]
        elif row[ANONYMOUS]:
            group = "a:" + row[ANONYMOUS]
        elif row[USER]:
            group = "u:" + row[USER]
        else:
            group = "e:" + row[ID]
        return SEPARATOR.join(("f", self.retention_class(row[CATEGORY], row[NAME]), group, digest, content))

    def withheld_row(self, values: list[Any], body: "Body | None") -> str:
        """The row of an event whose person did not consent."""
        kept = {
            NAMES[place]: CONVERT[place](values[place], NAMES[place]) or (body.columns[place] if body else "")
            for place in (NAME, CATEGORY, APP, OCCURRED)
        }
        kept["app_id"] = kept["app_id"] or self.app or ""
        kept["retention_class"] = self.retention_class(kept["event_category"], kept["event_name"])
        return withheld_row(self.columns, kept, {"event_id": "{id}", "properties": "{}"})


class Body:
    """What a POST body says for all its events, from its collapsed values and unknown keys: `columns` as text,
    `times` by place, and `extra` for their properties."""

    def __init__(self, values: list[Any], unknown: dict[str, Any]) -> None:
        self.columns = [
            "" if place not in INHERITED or value is None else convert(value, name)
            for place, (name, convert, value) in enumerate(zip(NAMES, CONVERT, values, strict=False))
        ]
        self.times = {place: values[place] for place in TIME_PLACES}
        self.extra = object_of(values[PROPERTIES], "properties")
        merge(self.extra, unknown, "envelope")
        for place in NOT_INHERITED:
            if not is_absent(values[place]):
                self.extra[f"envelope.{NAMES[place]}"] = values[place]


def object_of(value: Any, field: str) -> dict[str, Any]:
    """A JSON object of one's own; absent means empty."""
    if is_absent(value):
        return {}
    if type(value) is not dict:
        raise Refusal(f"needs an object, not {v.shown(value)}", field)
    return dict(value)


def name_by_shape(values: list[Any], unknown: dict[str, Any], alone: bool) -> None:
    """Names the records that carry no event name by what they hold: a web vital, the use of a feature, or,
    when it stands `alone`, a widget session or an increment of its counters. Refuses the others."""
    if "name" in unknown and "value" in unknown and ("rating" in unknown or "delta" in unknown):
        values[NAME] = "web_vitals"
        if values[ID_ALIAS] is not None and values[ID] == values[ID_ALIAS]:
            # A metric's id: it is sent again with every newer value, and each of those is an event.
            unknown["metric_id"], values[ID] = values[ID], None
        if is_absent(values[CATEGORY]):
            values[CATEGORY] = "performance"
    elif not is_absent(unknown.get("featureId")) or not is_absent(unknown.get("feature_id")):
        values[NAME] = "feature_usage"
    elif (
        alone
        and not is_absent(values[APP])
        and not is_absent(values[SESSION])
        and is_absent(values[CATEGORY])
        and (
            any(not is_absent(values[place]) for place in LANDING_FIELDS)
            or any(key in unknown for key in SESSION_ROW_KEYS)
        )
    ):
        values[NAME] = UPSERT
    elif alone and not is_absent(values[SESSION]) and counter_of(unknown.get("direction")):
        values[NAME] = INCREMENT
    else:
        raise Refusal("is missing: give event_name, eventName, event, action or type", "event_name")


def tell_counters(values: list[Any], unknown: dict[str, Any], properties: dict[str, Any], alone: bool) -> None:
    """One form for what a widget session's row or an increment counts: the names of the session's columns, and
    for an increment `{counter, increment}`. A flat `{sessionId, type: "sent"}` is an increment too."""
    if values[NAME] not in (UPSERT, INCREMENT):
        is_increment = alone and values[TYPE] == values[NAME] and not is_absent(values[SESSION])
        if not is_increment or properties or not is_absent(values[CATEGORY]):
            return
        unknown["counter"], values[NAME] = values[NAME], INCREMENT
    properties.update((key, unknown.pop(key)) for key in list(unknown) if key not in properties)
    if values[NAME] == UPSERT:
        for name in SESSION_COUNTERS:
            if camel(name) in properties:
                properties.setdefault(name, properties.pop(camel(name)))
        if all(values[place] is None for place in TIME_PLACES):
            values[OCCURRED] = properties.get("started_at")
        return
    told = next((key for key in ("counter", "direction", "type") if counter_of(properties.get(key))), None)
    if told:
        step = next((key for key in ("increment", "count", "by") if not is_absent(properties.get(key))), None)
        properties["counter"] = counter_of(properties.pop(told))
        properties["increment"] = v.whole(properties.pop(step), "increment") if step else 1


def counter_of(value: Any) -> str | None:
    """The session's counter that a word names, if any."""
    return COUNTERS.get(value) if type(value) is str else None


def choose_time(values: list[Any], unknown: dict[str, Any], properties: dict[str, Any]) -> None:
    """Puts the event's time into `occurred_at`: the client's, unless more than 24 h from the server's, then
    the server's, then the record's creation, then `occurredAt`. Other times told are kept among the unknown
    keys; without any the event is refused, since the time of loading must not become the event's."""
    server = values[SERVER_TIME]
    if server and values[CLIENT_TIME] is None and values[CREATED] is None and values[OCCURRED] is None:
        # The usual record tells one time: the same answer as below, sooner.
        values[OCCURRED] = v.timestamp(server, "timestamp")
        if values[OCCURRED]:
            return
    told = [
        (place, value)
        for place in TIME_PLACES
        if (value := values[place]) is not None and (type(value) is not str or value not in v.ABSENT)
    ]
    if not told:
        lift(values, OCCURRED, properties, ("timestamp",))
        values[OCCURRED] = v.timestamp(values[OCCURRED], "timestamp")
        if not values[OCCURRED]:
            raise Refusal("is missing: give timestamp, client_timestamp, created_at or occurred_at", "occurred_at")
        return
    chosen, time = told[0]
    if len(told) > 1:
        if chosen == CLIENT_TIME and told[1][0] == SERVER_TIME:
            client, server = v.moment(time, "client_timestamp"), v.moment(told[1][1], "timestamp")
            if abs(client - server) > MOST_SKEW:
                chosen, time = told[1]
        for place, other in told:
            if place != chosen and other != time:
                unknown[shape.attributes[place]] = other
    values[OCCURRED] = v.timestamp(time, shape.attributes[chosen])


def lift(values: list[Any], place: int, properties: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Moves a value out of `properties` to the column that lacks it."""
    for key in keys:
        value = properties.get(key)
        if type(value) in (str, int, Decimal) and not is_absent(value):
            values[place] = properties.pop(key)
            return


def promote(row: list[str], properties: dict[str, Any]) -> None:
    """Copies what `properties` says of columns the record left empty."""
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
