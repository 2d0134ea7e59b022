"""What is pulled and how a row becomes a record of its stream: one YAML file per mapping.

The file's name is the mapping's name. Values are never interpreted on the way: each stays the JSON text that
the source's `row_to_json` made of it, so numbers keep every digit.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ingest.errors import TidemarkError
from ingest.streams.registry import DECODERS

BUILT_IN = Path(__file__).parent / "mappings"
DEFAULT_OVERLAP = "10 minutes"
MAPPING_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
INTERVAL = re.compile(r"(\d{1,6})\s*([a-z]*)")
UNITS = {
    ("s", "sec", "second", "seconds"): timedelta(seconds=1),
    ("min", "minute", "minutes"): timedelta(minutes=1),
    ("h", "hour", "hours"): timedelta(hours=1),
    ("d", "day", "days"): timedelta(days=1),
}
# Keys that mean the object of everything without a column; session batches have another one beside it.
CONTAINERS = ("properties", "metadata", "props")
CONTAINER_OF_BATCHES = ("metadata",)
NULL = b"null"

row_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
encode = msgspec.json.encode


class Mapping(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table or query and what becomes of its columns. Fields are the keys of the YAML file.

    `watermark` names the columns to look for: of those that exist, the first that holds something counts.
    `columns` gives, per key of the record, the source's columns: the first that holds something moves there.
    Columns named nowhere keep their names. `constants` are set on every row, `defaults` where nothing else was
    told, `prefixes` are put before a value, `properties` are columns moved into the record's properties,
    `omit` are not taken.
    """

    name: str = ""
    stream: str
    table: str | None = None
    query: str | None = None
    key: str | list[str]
    watermark: str | list[str]
    overlap: str = DEFAULT_OVERLAP
    app: str | None = None
    columns: dict[str, str | list[str]] = {}
    constants: dict[str, str | int | float | bool] = {}
    defaults: dict[str, str | int | float | bool] = {}
    prefixes: dict[str, str] = {}
    properties: list[str] = []
    omit: list[str] = []

    @property
    def keys(self) -> list[str]:
        return listed(self.key)

    @property
    def watermarks(self) -> list[str]:
        return listed(self.watermark)

    @property
    def what(self) -> str:
        """What is read, for people."""
        return self.table or "a query"

    def record(self, row: bytes) -> bytes:
        """One line of NDJSON from a row as `row_to_json` tells it; columns that are null are left out."""
        values = {name: bytes(value) for name, value in row_decoder.decode(row).items()}
        values = {name: value for name, value in values.items() if value != NULL and name not in self.omit}
        aside = {name: values.pop(name) for name in self.properties if name in values}
        moved: dict[str, bytes] = {}
        for key, sources in self.columns.items():
            source = next((name for name in listed(sources) if name in values), None)
            if source:
                moved[key] = values.pop(source)
        moved |= {key: encode(value) for key, value in self.constants.items()}
        for key, value in moved.items():
            if values.get(key, value) != value:
                aside[key] = values[key]
            values[key] = value
        for key, value in self.defaults.items():
            values.setdefault(key, encode(value))
        for key, prefix in self.prefixes.items():
            if key in values:
                values[key] = prefixed(prefix, values[key])
        set_aside(values, aside, CONTAINER_OF_BATCHES if self.stream == "session_batches" else CONTAINERS)
        line = as_object(values)
        # A column of type json keeps its line breaks; inside strings JSON has them escaped.
        return line.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in line or b"\r" in line else line


def as_object(values: dict[str, bytes]) -> bytes:
    """A JSON object of values that are JSON already."""
    return b"{" + b",".join([encode(key) + b":" + value for key, value in values.items()]) + b"}"


def prefixed(prefix: str, value: bytes) -> bytes:
    """A JSON string or number as a string that begins with `prefix`."""
    text = msgspec.json.decode(value) if value.startswith(b'"') else value.decode()
    return encode(prefix + text)


def set_aside(values: dict[str, bytes], aside: dict[str, bytes], containers: tuple[str, ...]) -> None:
    """Moves values into the record's properties, and there too what is called so and is no object."""
    for name in containers:
        if name in values and not values[name].lstrip().startswith(b"{"):
            aside[name] = values.pop(name)
    if not aside:
        return
    name = next((name for name in containers if name in values), containers[0])
    held = {key: bytes(value) for key, value in row_decoder.decode(values.get(name, b"{}")).items()}
    for key, value in aside.items():
        held[key if held.get(key, value) == value else f"row.{key}"] = value
    values[name] = as_object(held)


def listed(value: str | list[str]) -> list[str]:
    """One or several names as a list."""
    return [value] if isinstance(value, str) else value


def interval(told: str) -> timedelta:
    """`10 minutes`, `90s`, `1d`. TidemarkError for anything else."""
    match = INTERVAL.fullmatch(told.strip().lower())
    if match:
        for names, unit in UNITS.items():
            if match[2] in names:
                return int(match[1]) * unit
    raise TidemarkError(f"{told!r} is no overlap: write a number and s, min, h or d, such as `10min`")


def mappings(files: tuple[Path, ...] = ()) -> dict[str, Mapping]:
    """The built-in mappings and those of `files`, by name; a file's comes before a built-in of its name."""
    found = [read_mapping(path) for path in (*sorted(BUILT_IN.glob("*.yml")), *files)]
    return {mapping.name: mapping for mapping in found}


def read_mapping(path: Path) -> Mapping:
    """The mapping a YAML file describes. TidemarkError says what is wrong with it and what is allowed."""
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TidemarkError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TidemarkError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    if type(told) is not dict:
        raise TidemarkError(f"{path}: needs keys and values such as `table: public.orders`")
    allowed = [name for name in Mapping.__struct_fields__ if name != "name"]
    for key in told:
        if key not in allowed:
            raise TidemarkError(f"{path}: unknown key {key!r}; the keys are {', '.join(allowed)}")
    try:
        mapping = msgspec.convert(told, Mapping)
    except msgspec.ValidationError as error:
        raise TidemarkError(f"{path}: {error}") from None
    mapping.name = path.stem
    problem = problem_of(mapping)
    if problem:
        raise TidemarkError(f"{path}: {problem}")
    return mapping


def problem_of(mapping: Mapping) -> str | None:
    """What makes a mapping unusable, None when nothing does."""
    streams = tuple(DECODERS)
    if not MAPPING_NAME.fullmatch(mapping.name):
        return f"{mapping.name!r} is no name for a mapping: use small letters, digits and _"
    if (mapping.table is None) == (mapping.query is None):
        return "name either a `table` or a `query`"
    if mapping.table is not None and not all(mapping.table.split(".")):
        return f"{mapping.table!r} is no table: write `name` or `schema.name`"
    if mapping.stream not in streams:
        return f"unknown stream {mapping.stream!r}; the streams are {', '.join(streams)}"
    if not mapping.keys or not mapping.watermarks:
        return "name at least one column as `key` and one as `watermark`"
    try:
        interval(mapping.overlap)
    except TidemarkError as error:
        return str(error)
    return None


def described(mapping: Mapping) -> dict[str, Any]:
    """What `--list` tells of a mapping."""
    return {
        "mapping": mapping.name,
        "stream": mapping.stream,
        "table": mapping.what,
        "watermark_column": ", ".join(mapping.watermarks),
    }
