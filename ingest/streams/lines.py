"""Lines, and what is done to a record's bytes before they are decoded: mending and limits."""

import re

import msgspec

from ingest.streams.values import Refusal

LARGEST_RECORD = 8 * 1024 * 1024
DEEPEST_NESTING = 64
MOST_KEYS = 10_000

ESCAPES = re.compile(
    rb"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?P<bad>\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
    rb"|\\.",
    re.DOTALL,
)
SUSPECT_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
SURROGATE_BYTES = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
# Escapes are taken out before strings: two linear passes, where one pattern for both could go quadratic.
ANY_ESCAPE = re.compile(rb"\\.", re.DOTALL)
STRINGS = re.compile(rb'"[^"]*"')
BRACKETS = bytes.maketrans(b"{}", b"[]")
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Block(msgspec.Struct, gc=False):
    """Whole lines of a file: the number of the first, and all their bytes, also line by line without the line
    feeds."""

    number: int
    content: bytes
    lines: list[bytes]


def mend(line: bytes) -> bytes:
    """Replaces NUL characters and lone surrogates, raw or escaped, by U+FFFD: PostgreSQL can hold neither.
    Returns the same object when there is nothing to mend."""
    if b"\\" in line and SUSPECT_ESCAPE.search(line):
        replaced = ESCAPES.sub(lambda match: rb"\ufffd" if match["bad"] else match[0], line)
        line = line if replaced == line else replaced
    if b"\x00" in line:
        line = line.replace(b"\x00", b"\xef\xbf\xbd")
    if not line.isascii() and SURROGATE_BYTES.search(line):
        try:
            text = line.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return line
        line = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    return line


def check_limits(record: bytes) -> None:
    """Refuses a record that is too long, too deep or has too many keys, before it is decoded."""
    if len(record) > LARGEST_RECORD:
        raise Refusal(f"is {len(record)} bytes long, more than {LARGEST_RECORD}")
    suspect_depth = record.count(b"{") + record.count(b"[") > DEEPEST_NESTING
    suspect_keys = len(record) > 2 * MOST_KEYS and record.count(b":") > MOST_KEYS
    if not suspect_depth and not suspect_keys:
        return
    bare = STRINGS.sub(b"", ANY_ESCAPE.sub(b"", record))
    if bare.count(b":") > MOST_KEYS:
        raise Refusal(f"has more than {MOST_KEYS} keys")
    if suspect_depth and depth(bare) > DEEPEST_NESTING:
        raise Refusal(f"is nested more than {DEEPEST_NESTING} levels deep")


def depth(bare: bytes) -> int:
    """Levels of nesting of JSON whose strings were taken out, counted to just over the limit."""
    brackets = bare.translate(BRACKETS, NOT_BRACKETS)
    levels = 0
    while brackets and levels <= DEEPEST_NESTING:
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            # Unbalanced, so no JSON: the decoder will say so.
            return levels
        brackets = inner
        levels += 1
    return levels
