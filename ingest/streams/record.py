"""What a stream makes of one record, and the pieces all streams share."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import msgspec

from ingest.streams.lines import check_limits
from ingest.streams.numbers import key_of_bad_number
from ingest.streams.shape import Shape
from ingest.streams.values import Refusal

# Joins the columns of a row: a NUL can be in no value, so no two rows share a joined text.
SEPARATOR = "\0"


# One row for raw: its place in the record's array, and its columns joined by `SEPARATOR`.
Row = tuple[int, str]


class Refused(NamedTuple):
    """One record or element that cannot be loaded: its place, why, which field, its bytes."""

    element: int
    reason: str
    field: str | None
    record: bytes


class Decoded(msgspec.Struct, gc=False):
    """What came of one record. `records` counts what was found in it, whatever became of it."""

    records: int
    rows: list[Row]
    refused: Sequence[Refused] = ()


class Stream(Protocol):
    """One stream's way from a record's bytes to rows of its raw table."""

    name: str
    # Columns of the raw table in the order of `Row.columns`, after load_id, received_at, line_number
    # and, where `has_element`, element.
    columns: tuple[str, ...]
    has_element: bool

    def decode(self, record: bytes) -> Decoded:
        """One record, mended and within the limits. Never raises for what the record says."""
        ...


def content_hash(content: str) -> str:
    """A UUID that is a pure function of a row's content."""
    digest = blake2b(content.encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def refused(record: bytes, error: Exception, element: int = 0) -> Refused:
    """A record that raised `error` while it was decoded."""
    if isinstance(error, Refusal):
        return Refused(element, error.reason, error.field, record)
    if isinstance(error, RecursionError):
        return Refused(element, "is nested too deep", None, record)
    if isinstance(error, UnicodeDecodeError):
        return Refused(element, "is not UTF-8 text", None, record)
    key = key_of_bad_number(record)
    if key is not None:
        return Refused(
            element, f"{key}: holds no number that can be stored (NaN, infinite or out of range)", key, record
        )
    if isinstance(error, msgspec.ValidationError) or not isinstance(error, msgspec.DecodeError):
        return Refused(element, str(error), None, record)
    return Refused(element, f"is not JSON: {error}", None, record)


def decode_values(shape: Shape, record: bytes) -> tuple[list[Any], dict[str, Any]]:
    """`Shape.decode` within the limits, with every alias moved to its column."""
    check_limits(record)
    values, unknown = shape.decode(record)
    shape.collapse(values, unknown)
    return values, unknown
