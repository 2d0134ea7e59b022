"""Seeds as files: what is wrong in one is said with its file and line, before anything reads it."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from ingest.errors import TidemarkError

FOLDER = Path(__file__).resolve().parents[1] / "seeds"
TOLD_AT_ONCE = 10
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE_NUMBER = re.compile(r"[+-]?\d+", re.ASCII)
ENDLESS = re.compile(r"[+-]?infinity", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
TIME_ZONE = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")


def rows_of(path: Path, header: Sequence[str] | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """(file and line, row) of a seed, which must have the columns `header` where that is given.

    Raises:
        TidemarkError: the file cannot be read, or a line has not as many fields as the first.
    """
    shown = f"seeds/{path.name}"
    try:
        # dbt takes a byte order mark away too
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            if header is not None and sorted(columns) != sorted(header):
                raise TidemarkError(f"{shown}, line 1: the columns must be {','.join(header)}.")
            if len(set(columns)) < len(columns):
                raise TidemarkError(f"{shown}, line 1: a column is there twice.")
            line = reader.line_num + 1
            for fields in reader:
                place, line = f"{shown}, line {line}", reader.line_num + 1
                if not fields:
                    raise TidemarkError(f"{place}: the line is empty, which is a row of nulls: take it away.")
                if len(fields) != len(columns):
                    raise TidemarkError(f"{place}: the line has not as many fields as the first.")
                yield place, dict(zip(columns, fields, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TidemarkError(f"{shown} cannot be read ({error}): mend it.") from error


def check(manifest: Mapping[str, Any]) -> None:
    """Check the project's seeds against what dbt's manifest says of them.

    That is: columns and types, and the tests `not_null`, `unique_key`, `accepted_values` and `relationships`. What
    needs the database to be judged is left to it.

    Raises:
        TidemarkError: names file and line of what is wrong, of the first ten such places.
    """
    seeds = {
        unique_id: _Seed(node)
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "seed" and "column_types" in node["config"]
    }
    wrong = [problem for seed in seeds.values() for problem in seed.problems()]
    if not wrong:
        for node in manifest["nodes"].values():
            seed = seeds.get(node.get("attached_node") or "")
            test = node.get("test_metadata") or {}
            if seed and test.get("name") in _TESTS and not node["config"].get("where"):
                wrong += _TESTS[test["name"]](seed, test["kwargs"], seeds)
    if wrong:
        more = len(wrong) - TOLD_AT_ONCE
        told = "\n".join(wrong[:TOLD_AT_ONCE]) + (f"\n… and {more} more." if more > 0 else "")
        raise TidemarkError(f"{told}\nMend that and refresh again: nothing was touched.")


class _Seed:
    def __init__(self, node: Mapping[str, Any]) -> None:
        self.name: str = node["name"]
        self.path = Path(node["root_path"] or FOLDER.parent) / node["original_file_path"]
        self.types: Mapping[str, str] = node["config"]["column_types"]
        self.rows: list[tuple[str, dict[str, str | None]]] = []

    def problems(self) -> Iterator[str]:
        """What is wrong with the file itself and with single values; `rows` is filled on the way."""
        try:
            for place, row in rows_of(self.path, list(self.types)):
                self.rows.append((place, {column: _text(value) for column, value in row.items()}))
        except TidemarkError as error:
            yield str(error)
            return
        for place, row in self.rows:
            for column, value in row.items():
                wanted, is_one = _TYPES.get(self.types[column], ("", None))
                if value is not None and is_one and not is_one(value.strip()):
                    yield f'{place}: {column} is "{value}", not {wanted}.'

    def key(self, row: Mapping[str, str | None], columns: Sequence[str]) -> tuple[Any, ...]:
        """Values of a row as the database compares them."""
        return tuple(
            Decimal(value) if value is not None and self.types[column] in _NUMERIC else value
            for column, value in ((column, row[column]) for column in columns)
        )


def _text(value: str) -> str | None:
    """A field as dbt reads it."""
    return None if value.strip().lower() in ("", "null") else value


def _not_null(seed: _Seed, told: Mapping[str, Any], _: Any) -> Iterator[str]:
    column = told["column_name"]
    for place, row in seed.rows:
        if row[column] is None:
            yield f"{place}: {column} is missing."


def _unique_key(seed: _Seed, told: Mapping[str, Any], _: Any) -> Iterator[str]:
    columns = told["columns"]
    if not set(columns) <= set(seed.types):
        return
    first: dict[tuple[Any, ...], str] = {}
    for place, row in seed.rows:
        lacking = [column for column in columns if row[column] is None]
        if lacking:
            yield f"{place}: {lacking[0]} is missing, a part of the key."
            continue
        earlier = first.setdefault(seed.key(row, columns), place)
        if earlier != place:
            named = ", ".join(f'{column} "{row[column]}"' for column in columns)
            yield f"{place}: {named} is there already, in {earlier.rpartition(', ')[2]}."


def _accepted_values(seed: _Seed, told: Mapping[str, Any], _: Any) -> Iterator[str]:
    column, accepted = told["column_name"], [str(value) for value in told["values"]]
    for place, row in seed.rows:
        if row[column] is not None and row[column] not in accepted:
            yield f'{place}: {column} is "{row[column]}", none of {", ".join(accepted)}.'


def _relationships(seed: _Seed, told: Mapping[str, Any], seeds: Mapping[str, _Seed]) -> Iterator[str]:
    column, field = told["column_name"], told["field"]
    named = re.search(r"ref\('(\w+)'\)", told["to"])
    others = [other for other in seeds.values() if named and other.name == named[1]]
    for other in others:
        known = {row[field] for _, row in other.rows}
        for place, row in seed.rows:
            if row[column] is not None and row[column] not in known:
                yield f'{place}: {column} is "{row[column]}", which seeds/{other.path.name} does not list.'


_TESTS: Mapping[str, Callable[[_Seed, Mapping[str, Any], Mapping[str, _Seed]], Iterator[str]]] = {
    "not_null": _not_null,
    "unique_key": _unique_key,
    "accepted_values": _accepted_values,
    "relationships": _relationships,
}


def _is_number(value: str) -> bool:
    return bool(NUMBER.fullmatch(value) or ENDLESS.fullmatch(value))


def _is_whole(value: str) -> bool:
    return bool(WHOLE_NUMBER.fullmatch(value))


def _is_boolean(value: str) -> bool:
    return value.lower() in ("true", "false")


def _is_date(value: str) -> bool:
    return bool(ENDLESS.fullmatch(value) or (DATE.fullmatch(value) and _is_there(date.fromisoformat, value)))


def _is_time(value: str) -> bool:
    return bool(TIME.fullmatch(value)) and _is_there(time.fromisoformat, value)


def _is_moment(value: str) -> bool:
    """Whether it is a time with its zone: one without would be read in that of whoever refreshes."""
    zone = TIME_ZONE.search(value)
    day, _, hour = value[: zone.start()].strip().replace("T", " ").partition(" ") if zone else ("", "", "")
    return bool(ENDLESS.fullmatch(value)) or (bool(DATE.fullmatch(day)) and _is_date(day) and _is_time(hour))


def _is_there(read: Callable[[str], Any], value: str) -> bool:
    """Whether the calendar or the clock has such a value."""
    try:
        read(value)
    except ValueError:
        return False
    return True


_NUMERIC = ("numeric", "integer", "bigint")
# data type → what a value of it is, in words, and whether a text without spaces around it is one
_TYPES: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "numeric": ("a number", _is_number),
    "integer": ("a whole number", _is_whole),
    "bigint": ("a whole number", _is_whole),
    "boolean": ("true or false", _is_boolean),
    "date": ("a date such as 2026-03-31", _is_date),
    "time": ("a time of day such as 08:30", _is_time),
    "timestamptz": ("a time with its zone such as 2026-03-31T08:30:00Z", _is_moment),
}
