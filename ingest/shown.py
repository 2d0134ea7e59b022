"""Text and tables for a terminal: nothing a record holds may move the cursor, change colours or hide text."""

import sys
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Control characters, those that only format (marks of writing direction among them), line separators, and what is
# no character.
INVISIBLE = frozenset(("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"))
WIDTH_WITHOUT_TERMINAL = 160

# One line of JSON: times in ISO 8601, decimals as numbers.
as_json = msgspec.json.Encoder(decimal_format="number").encode


def visible(text: str, keep: str = "") -> str:
    """The text with everything a terminal would not print written as an escape; characters in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in INVISIBLE and character not in keep
        else character
        for character in text
    )


def readable(record: bytes) -> str:
    """A record for people: JSON laid out in lines, other text as it is, bytes that are no text as escapes."""
    try:
        text = record.decode()
        text = msgspec.json.format(text, indent=2)
    except UnicodeDecodeError:
        text = record.decode("utf-8", "backslashreplace")
    except (ValueError, RecursionError):
        pass
    return visible(text, keep="\n")


def cell(value: Any) -> str:
    """A value in a table: times to the second in UTC, counts with separators, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | Decimal):
        return f"{value:,}"
    return visible(str(value))


def print_table(rows: Iterable[Mapping[str, Any]], title: str | None = None) -> None:
    """Rows with equal keys as a table with the keys as headings; numbers to the right."""
    rows = list(rows)
    if not rows:
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in rows[0]:
        numbers = all(isinstance(row[name], int | Decimal) or row[name] is None for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL, highlight=False).print(table)


def tell_refused(count: int) -> None:
    """Says on standard error how many records were refused because their person was erased, if any."""
    if count:
        print(f"{count} refused: their person was erased", file=sys.stderr)


def tell_rejected(count: int) -> None:
    """Says on standard error how many records were rejected, if any, and where to look."""
    if count:
        print(f"{count} rejected: see `python -m ingest rejects list`", file=sys.stderr)
