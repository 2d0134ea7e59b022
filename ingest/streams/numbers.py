"""Which key of a refused record holds the number that JSON or PostgreSQL does not know."""

import re

from ingest.streams.values import exact

WORDS = (b"NaN", b"Infinity", b"-Infinity")
KEYED_NUMBER = re.compile(rb'"([^"\\]{1,255})"\s*:\s*(-?(?:NaN|Infinity|\d[0-9.eE+-]*))')
# A whole number of more digits is more than Python reads at once.
MOST_DIGITS = 4300


def key_of_bad_number(record: bytes) -> str | None:
    """The first key whose value is NaN, infinite or out of range; None when there is none, as in a list."""
    for match in KEYED_NUMBER.finditer(record):
        key, literal = match.groups()
        if literal in WORDS or not is_in_range(literal.decode()):
            return key.decode("utf-8", "replace")
    return None


def is_in_range(literal: str) -> bool:
    """Whether a JSON number is one that a record may hold."""
    if literal.lstrip("-").isdigit():
        return len(literal) <= MOST_DIGITS
    try:
        exact(literal)
    except (ValueError, ArithmeticError):
        return False
    return True
