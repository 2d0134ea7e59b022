"""What each producer sends, and the raw rows it must become: the pairs of files under `golden/`."""

import json
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import yaml
from psycopg.types.json import set_json_loads

from ingest.connection import connect
from ingest.files import stream_of
from ingest.load import load_file
from ingest.streams.registry import READ
from ingest.streams.shape import camel

GOLDEN = Path(__file__).parent / "golden"
SUFFIX = ".expected.yml"
# Columns of the load, not of what was sent.
TECHNICAL = {"load_id", "received_at", "content_hash"}
OWN_HASH = "<content hash>"


class Reader(yaml.SafeLoader):
    """YAML in which a time is its text and a fraction is exact."""


Reader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Reader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: Decimal(loader.construct_scalar(node)))


def inputs():
    """Every golden input, named by its place."""
    return sorted(path for path in GOLDEN.rglob("*") if path.suffix in (".json", ".ndjson"))


def expected_of(path):
    file = path.with_name(path.name.partition(".")[0] + SUFFIX)
    return yaml.load(file.read_text(), Reader)["rows"]


def plain(value):
    """A column's value as an expectation writes it."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, UUID | Decimal):
        return format(value, "f") if isinstance(value, Decimal) else str(value)
    return value if isinstance(value, str | int | bool | list | dict) or value is None else str(value)


def stored(connection, stream, load_id):
    """The load's rows, each without its empty and technical columns; `line_number` is called `line`."""
    cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
    cursor.execute(f"select * from raw.{stream} where load_id = %s", [load_id])
    rows = []
    for row in cursor:
        digest = str(row["content_hash"])
        told = {name: plain(value) for name, value in row.items() if name not in TECHNICAL and value is not None}
        told = {name: value for name, value in told.items() if value not in ({}, [])}
        for flag in ("withheld", "carried"):
            if told.get(flag) is False:
                del told[flag]
        # The id of a record that was sent without one.
        told = {name: value for name, value in told.items() if value != digest}
        if told["session_group"] == f"e:{digest}":
            told["session_group"] = f"e:{OWN_HASH}"
        told["line"] = told.pop("line_number")
        rows.append(told)
    return sorted(rows, key=lambda row: (row["line"], row.get("element", 0)))


@pytest.fixture(scope="module")
def loader(database):
    """A connection that commits by itself and reads jsonb numbers exactly."""
    with connect(database, autocommit=True) as connection:
        set_json_loads(lambda text: json.loads(text, parse_float=Decimal), connection)
        yield connection


def golden_id(path):
    return str(path.relative_to(GOLDEN))


@pytest.mark.parametrize("path", inputs(), ids=golden_id)
def test_golden_file(loader, path):
    stream = stream_of(path)
    if stream not in READ:
        pytest.skip(f"nothing reads the stream {stream} yet")
    expected = expected_of(path)
    result = load_file(loader, path)
    assert (result.status, result.loaded, result.rejected) == ("loaded", len(expected), 0), rejects(loader, result)
    for found, wanted in zip(stored(loader, stream, result.load_id), expected, strict=True):
        # Streams whose records are always one thing may do without an element.
        assert found == (wanted if "element" in found else without_element(wanted))


def without_element(row):
    return {name: value for name, value in row.items() if name != "element"}


def rejects(connection, result):
    return connection.execute("select reason from raw.rejects where load_id = %s", [result.load_id]).fetchall()


def test_every_input_has_an_expectation_and_every_producer_and_stream_an_input():
    paths = inputs()
    assert sorted(GOLDEN.rglob(f"*{SUFFIX}")) == sorted(p.with_name(p.name.partition(".")[0] + SUFFIX) for p in paths)
    assert {path.parent.name for path in paths} == {
        "session_provider", "chat_widget", "funnel_sdk", "ai_platform", "coaching_app",
    }  # fmt: skip
    assert {stream_of(path) for path in paths} == {
        "session_batches", "events", "llm_requests", "identifies", "costs", "privacy_requests",
    }  # fmt: skip


def restyled(value, style):
    """A record with its own keys, and those of a body's events, in another style."""
    if isinstance(value, list):
        return [restyled(item, style) for item in value]
    told = {style(key): item for key, item in value.items()}
    if isinstance(told.get("events"), list):
        told["events"] = restyled(told["events"], style)
    return told


def snake(key):
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in key)


@pytest.mark.parametrize("style", [camel, snake], ids=["camelCase", "snake_case"])
@pytest.mark.parametrize("path", [p for p in inputs() if stream_of(p) in READ], ids=golden_id)
def test_either_key_style_gives_the_same_rows(path, style):
    """The decoders alone: what a row says does not depend on the style of the record's keys."""
    decoder = READ[stream_of(path)]()
    text = path.read_text()
    documents = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    for document in documents:
        as_sent = decoder.decode(json.dumps(document).encode())
        other = decoder.decode(json.dumps(restyled(document, style)).encode())
        assert len(as_sent.rows) == len(other.rows)
        for (_, row), (_, found) in zip(as_sent.rows, other.rows, strict=True):
            assert known_columns(decoder, found) == known_columns(decoder, row)


def known_columns(decoder, row):
    """A row without what an unknown key's spelling decides: the properties, and the hashes of the whole."""
    told = dict(zip(decoder.columns, row.split("\0"), strict=True))
    derived = told.pop("content_hash")
    told.pop("properties")
    return {name: value for name, value in told.items() if derived not in value}
