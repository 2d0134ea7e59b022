"""Any record as one line of JSON that the loader reads, without running the application's code.

JSON has no words for most of Python's values. Times and UUIDs become text, decimals numbers digit for digit,
bytes base64, sets and tuples arrays, enums their values, dataclasses objects, paths text. NaN and infinity
become null, which means absent. A value of any other type becomes its type's name, `"<Decimal128>"`: `str()`
of it could do anything, a database query included.
"""

import dataclasses
import enum
import os
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

# The loader refuses records nested deeper than this many levels.
DEEPEST = 64
# Far more than a record may hold, 8 MiB: a structure that unfolds without end stops here.
MOST_VALUES = 1_000_000


def encode(record: dict[str, Any]) -> bytes:
    """The record as JSON without line breaks. ValueError and the like for what cannot be told at all."""
    try:
        line = encoder.encode(record)
    except (UnicodeEncodeError, RecursionError, TypeError, ValueError, AttributeError):
        return encoder.encode(Plain().value(record, 0))
    # Decimals that are no numbers are written as these words, which are no JSON.
    if b"NaN" in line or b"Infinity" in line or line.count(b"[") + line.count(b"{") > DEEPEST:
        return encoder.encode(Plain().value(record, 0))
    return line


def foreign(value: Any) -> Any:
    """A value of a type msgspec does not know, as one it knows."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, deque | range):
        return list(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return f"<{type(value).__name__}>"


encoder = msgspec.json.Encoder(enc_hook=foreign, decimal_format="number")


class Plain:
    """Mends what keeps a record from being JSON: lone surrogates, cycles, numbers that are none, odd keys."""

    def __init__(self) -> None:
        self.values = 0
        self.inside: set[int] = set()

    def value(self, value: Any, depth: int) -> Any:
        """A copy of the value that encodes. ValueError when it holds too much."""
        self.values += 1
        if self.values > MOST_VALUES:
            raise ValueError(f"holds more than {MOST_VALUES} values")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.value(value.value, depth + 1) if depth < DEEPEST else None
        if isinstance(value, str):
            return mended(value)
        if isinstance(value, float):
            return value if value - value == 0 else None
        if isinstance(value, Decimal):
            return value if value.is_finite() else None
        if isinstance(value, Mapping):
            return self.container(value, depth, self.mapping)
        if isinstance(value, list | tuple | set | frozenset | deque):
            return self.container(value, depth, self.sequence)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self.container(value, depth, self.dataclass)
        return value

    def container(self, value: Any, depth: int, copy: Callable[[Any, int], Any]) -> Any:
        """A copy of what holds other values; one that is inside itself, or too deep, becomes a word."""
        if id(value) in self.inside:
            return "<cycle>"
        if depth >= DEEPEST:
            return "<nested too deep>"
        self.inside.add(id(value))
        try:
            return copy(value, depth + 1)
        finally:
            self.inside.discard(id(value))

    def mapping(self, value: Any, depth: int) -> dict[Any, Any]:
        return {mended(key) if isinstance(key, str) else key: self.value(of, depth) for key, of in value.items()}

    def sequence(self, value: Any, depth: int) -> list[Any]:
        return [self.value(item, depth) for item in value]

    def dataclass(self, value: Any, depth: int) -> dict[str, Any]:
        told = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
        return {name: self.value(getattr(value, name), depth) for name in told}


def mended(text: str) -> str:
    """The text with U+FFFD for surrogates that stand alone, which UTF-8 has no bytes for."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
