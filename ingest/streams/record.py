"""What a stream makes of one record, and the pieces all streams share."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import msgspec

from ingest.streams.lines import check_limits
from ingest.streams.numbers import key_of_bad_number
from ingest.streams.shape import Shape
from ingest.streams.values import Refusal

# Joins the columns of a row: a NUL can be in no value, so no two rows share a joined text.
SEPARATOR = "\0"
# Every raw table's first columns: the load, and the record's place in its file.
PLACE_COLUMNS = ("load_id", "received_at", "line_number")
# Copied for each row: a fifth faster than making one.
EMPTY_DIGEST = blake2b(digest_size=16)

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


class Taken(NamedTuple):
    """Rows ready for COPY's text format, and the columns they hold."""

    columns: tuple[str, ...]
    rows: list[str]


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


def content_digests(contents: Iterable[str]) -> list[str]:
    """For each row's content 32 hexadecimal digits that are a pure function of it."""
    digests = []
    for content in contents:
        digest = EMPTY_DIGEST.copy()
        digest.update(content.encode())
        digests.append(digest.hexdigest())
    return digests


def content_hash(content: str) -> str:
    """A UUID that is a pure function of a row's content."""
    return dashed(*content_digests([content]))


def dashed(digest: str) -> str:
    """32 hexadecimal digits as PostgreSQL writes a UUID."""
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def escaped(text: str) -> str:
    """A column's text as COPY's text format has it."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


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
