"""What the streams of few, flat records share: one record is one row, read key by key."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, ClassVar

from ingest.streams import values as v
from ingest.streams.consent import EXEMPT_STREAMS, denies, withheld_row
from ingest.streams.record import SEPARATOR, Decoded, content_hash, decode_values, refused
from ingest.streams.shape import Shape, camel, merge
from ingest.streams.values import Converter, Refusal, is_absent

Values = dict[str, Any]


def both_styles(names: Iterable[str]) -> dict[str, str]:
    """Key to column, for each name in snake_case and camelCase."""
    return {key: name for name in names for key in (name, camel(name))}


class FlatStream:
    """Decoder of such a stream. `app` is the app of records that name none.

    A subclass says its columns (`properties`, always there, is the last) and what a record needs. Values are by
    the name of their column; what its hooks find wrong they raise as `Refusal`.
    """

    name: ClassVar[str]
    has_element: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]]
    convert: ClassVar[dict[str, Converter]]
    shape: ClassVar[Shape]
    # The producer's id; a record without one gets the hash of its content.
    id_column: ClassVar[str]
    # Key of `properties` to the column it is moved to, or copied to, where the record tells none above.
    lifted: ClassVar[dict[str, str]] = {}
    copied: ClassVar[dict[str, str]] = {}
    # What stays of a record whose person did not consent.
    kept: ClassVar[tuple[str, ...]] = ("app_id", "occurred_at")

    def __init__(self, app: str | None = None) -> None:
        self.app = app

    def decode(self, record: bytes) -> Decoded:
        """One record. Never raises for what it says."""
        try:
            told, unknown = decode_values(self.shape, record)
            values = dict(zip(self.shape.attributes, told, strict=True))
            properties = object_of(values["properties"], "properties")
            self.lift(values, properties)
            self.prepare(values, unknown)
            withheld = self.name not in EXEMPT_STREAMS and denies(record)
            row = self.withheld(values) if withheld else self.row(values, properties, unknown)
            return Decoded(1, [(0, row)])
        except (ValueError, RecursionError) as error:
            return Decoded(1, [], (refused(record, error),))

    def prepare(self, values: Values, unknown: dict[str, Any]) -> None:
        """Settles what several keys say together, before any value is converted."""

    def check(self, row: dict[str, str]) -> None:
        """Refuses a converted record that lacks what the stream needs."""

    def lift(self, values: Values, properties: dict[str, Any]) -> None:
        """Moves what `properties` knows of a column that the record leaves empty, or tells likewise."""
        for key, column in self.lifted.items():
            value = properties.get(key)
            if type(value) not in (str, int, Decimal) or is_absent(value):
                continue
            if is_absent(values[column]) or values[column] == value:
                values[column] = properties.pop(key)

    def row(self, values: Values, properties: dict[str, Any], unknown: dict[str, Any]) -> str:
        """The columns of one record."""
        row = {name: convert(values[name], name) for name, convert in self.convert.items()}
        merge(properties, unknown, "record")
        for key, column in self.copied.items():
            if not row[column] and key in properties:
                row[column] = fitting(self.convert[column], properties[key], column)
        row["app_id"] = row["app_id"] or self.app or ""
        self.check(row)
        row["properties"] = v.json(properties)
        digest = content_hash(SEPARATOR.join(row.values()))
        row[self.id_column] = row[self.id_column] or digest
        row |= {"withheld": "f", "session_group": group_of(row, row[self.id_column]), "content_hash": digest}
        return SEPARATOR.join(row[name] for name in self.columns)

    def withheld(self, values: Values) -> str:
        """The row of a record whose person did not consent."""
        kept = {name: self.convert[name](values[name], name) for name in self.kept}
        kept["app_id"] = kept["app_id"] or self.app or ""
        need(kept["occurred_at"], "occurred_at", "give timestamp, created_at or occurred_at")
        return withheld_row(self.columns, kept, {self.id_column: "{id}", "properties": "{}"})


def object_of(value: Any, field: str) -> dict[str, Any]:
    """A JSON object of one's own; absent means empty."""
    if is_absent(value):
        return {}
    if type(value) is not dict:
        raise Refusal(f"needs an object, not {v.shown(value)}", field)
    return dict(value)


def fitting(convert: Converter, value: Any, column: str) -> str:
    """A value as its column holds it, nothing where it does not fit."""
    try:
        return convert(value, column)
    except Refusal:
        return ""


def need(text: str, field: str, what: str) -> None:
    """Refuses a record without that field, saying what to give."""
    if not text:
        raise Refusal(f"is missing: {what}", field)


def group_of(row: dict[str, str], identifier: str) -> str:
    """The session group: the first present of session, anonymous and user id, else the record's own."""
    for kind, column in (("s:", "session_id"), ("a:", "anonymous_id"), ("u:", "user_id")):
        if row.get(column):
            return kind + row[column]
    return "e:" + identifier
