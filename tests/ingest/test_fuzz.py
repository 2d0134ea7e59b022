"""Random documents and random bytes: no traceback, no lost record, and nothing PostgreSQL would refuse."""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.connection import connect
from ingest.files import BrokenFileError, stream_of
from ingest.load import load_file
from ingest.reading import checksum, records
from ingest.streams.lines import mend
from ingest.streams.record import SEPARATOR
from ingest.streams.registry import READ
from ingest.streams.shape import camel
from tests.conftest import CHECKOUT

GOLDEN = Path(__file__).parent / "golden"
BLANKS = b" \t\r\n"
# A stream's shape stands in its module or in its class.
SHAPES = {name: getattr(one, "shape", None) or sys.modules[one.__module__].shape for name, one in READ.items()}
# Files with a fixed chance, so that a failure here is a failure everywhere.
repeatable = settings(derandomize=True, suppress_health_check=list(HealthCheck))

# JSON that readers, PostgreSQL or both find hard, as text.
ODD_LITERALS = [
    *Path(__file__).with_name("odd_literals.txt").read_text(encoding="utf-8").rstrip("\n").split("\n"),
    *("1" * digits for digits in (399, 400, 401, 4300, 4301)),
    *("0." + "0" * digits + "1" for digits in (29, 30, 397, 398, 399)),
    '{"a":' + "9" * 400 + "}",
    '"' + "y" * 256 + '"',
]
UNKNOWN_KEYS = [
    "",
    "x",
    "a.b",
    "$set",
    "é",
    r"\u0000",
    r"\ud800",
    r"\n",
    "properties.x",
    "record.x",
    "__proto__",
    "x" * 300,
]


def as_object(members):
    """A JSON object of (key as it stands between its quotes, value as text), repeated keys and all."""
    return "{" + ",".join(f'"{key}":{value}' for key, value in members) + "}"


def quoted(text):
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else json.dumps(text)


scalars = st.sampled_from(ODD_LITERALS) | st.text(max_size=6).map(quoted) | st.integers().map(str)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]")
        | st.lists(st.tuples(st.sampled_from(UNKNOWN_KEYS), inner), max_size=3).map(as_object)
    ),
    max_leaves=5,
)


NEEDED = {
    "events": [("event", '"e"'), ("timestamp", "1775563200")],
    "llm_requests": [("model", '"m"'), ("timestamp", "1775563200")],
    "session_batches": [
        ("sessionId", '"s"'), ("batchId", '"c1a7a0de-94b5-4a39-9a34-6f1b1f5e7a10"'), ("startedAt", "1775563200"),
    ],
    "identifies": [("userId", '"u"'), ("timestamp", "1775563200")],
    "costs": [("amount", '"2.50"'), ("timestamp", "1775563200")],
    "privacy_requests": [("requestType", '"erase"'), ("userId", '"u"'), ("requestedAt", "1775563200")],
}  # fmt: skip


@st.composite
def documents(draw, stream):
    """A record near the stream's shape: what it needs, mostly, and any keys it knows or not with any values."""
    known = [*SHAPES[stream].attributes, *map(camel, SHAPES[stream].attributes)]
    if stream == "events":
        known.append("events")
    keys = st.sampled_from(known) | st.sampled_from(UNKNOWN_KEYS)
    members = draw(st.lists(st.tuples(keys, values), max_size=4))
    needed = [member for member in NEEDED[stream] if draw(st.integers(0, 9))]
    document = as_object(draw(st.permutations(needed + members)))
    if stream == "events" and draw(st.integers(0, 4)) == 0:
        more = ",".join(draw(st.lists(st.just(document) | values, max_size=3)))
        document = as_object([*draw(st.permutations(members)), ("events", f"[{more}]")])
    return document.encode("utf-8", "surrogatepass")


def rows_of(decoder, line):
    """What the decoder makes of a line, after the laws that hold for every line."""
    decoded = decoder.decode(mend(line))
    assert decoded.records == len(decoded.rows) + len(decoded.refused) >= 1
    for _, row in decoded.rows:
        row.encode()
        assert row.count(SEPARATOR) == len(decoder.columns) - 1
    for refusal in decoded.refused:
        assert refusal.reason
        assert refusal.reason.isprintable() or refusal.reason.encode()
        assert SEPARATOR not in refusal.reason
    return decoded


# Structure


@pytest.mark.parametrize("stream", READ)
def test_any_document_is_rows_or_refused(stream):
    decoder = READ[stream]()

    @settings(repeatable, max_examples=250)
    @given(documents(stream))
    def fuzz(line):
        rows_of(decoder, line)

    fuzz()


@pytest.mark.parametrize("stream", SHAPES)
def test_nothing_an_accepted_record_says_is_lost(stream):
    """Every text of a record that loads is in its row, under whatever keys it came."""
    decoder = READ[stream]()
    known = [*SHAPES[stream].attributes, *map(camel, SHAPES[stream].attributes)]
    needed = {key: json.loads(value) for key, value in NEEDED[stream]}
    fitting = [key for key in known if decoder.decode(json.dumps({**needed, key: "marker"}).encode()).rows]

    @settings(repeatable, max_examples=150)
    @given(st.data())
    def fuzz(data):
        keys = data.draw(st.lists(st.sampled_from([*fitting, "x", "y_z"]), unique=True, max_size=6))
        told = {key: f"marker{number}." for number, key in enumerate(keys)}
        inside = data.draw(st.lists(st.sampled_from([*known, "x"]), unique=True, max_size=4))
        holders = {"events": ["properties", "metadata", "props"], "llm_requests": ["properties", "usage", "metrics"]}
        holder = data.draw(st.sampled_from(holders.get(stream, ["metadata", "properties"])))
        told[holder] = {key: f"inner{number}." for number, key in enumerate(inside)}
        line = json.dumps({**needed, **told}).encode()
        decoded = rows_of(decoder, line)
        for _, row in decoded.rows:
            markers = [value for value in told.values() if isinstance(value, str)] + list(told[holder].values())
            assert [marker for marker in markers if marker not in row] == []
        for refusal in decoded.refused:
            assert refusal.record == line

    fuzz()


def test_nothing_an_accepted_body_says_is_lost():
    """The same for a POST body: each of its events says what the body says, where it does not say so itself."""
    decoder = READ["events"]()
    known = [*SHAPES["events"].attributes, *map(camel, SHAPES["events"].attributes)]
    needed = {key: json.loads(value) for key, value in NEEDED["events"]}
    fitting = [key for key in known if decoder.decode(json.dumps({**needed, key: "marker"}).encode()).rows]

    @settings(repeatable, max_examples=150)
    @given(st.data())
    def fuzz(data):
        keys = data.draw(st.lists(st.sampled_from([*fitting, "x", "y_z"]), unique=True, max_size=6))
        above = {key: f"marker{number}." for number, key in enumerate(keys)}
        above[data.draw(st.sampled_from(["properties", "metadata"]))] = {"shared": "inner1.", "team_id": "inner2."}
        events = [{**needed, "properties": {"own": "inner3."}}] * 2
        decoded = rows_of(decoder, json.dumps({**above, "events": events}).encode())
        assert len(decoded.rows) == 2
        markers = [value for value in above.values() if isinstance(value, str)] + ["inner1.", "inner2.", "inner3."]
        for _, row in decoded.rows:
            assert [marker for marker in markers if marker not in row] == []

    fuzz()


def test_postgresql_takes_every_row_a_decoder_accepts(database, tmp_path):
    """A row PostgreSQL refuses would take the whole file with it."""
    with connect(database, autocommit=True) as connection:
        for stream in SHAPES:
            for number in range(2):
                # Every odd literal under every key, the rest as it should be.
                path = tmp_path / f"{stream}-{number}.ndjson"
                path.write_bytes(b"\n".join(every_odd_document(stream, bool(number))))
                result = load_file(connection, path)
                assert result.records == result.loaded + result.rejected
                assert min(result.loaded, result.rejected) > 100

        @settings(repeatable, max_examples=25)
        @given(st.data())
        def fuzz(data):
            stream = data.draw(st.sampled_from(sorted(SHAPES)))
            lines = data.draw(st.lists(documents(stream), min_size=8, max_size=16))
            path = tmp_path / f"{stream}.ndjson"
            path.write_bytes(b"".join(line + b"\n" for line in lines))
            result = load_file(connection, path, force=True)
            assert places(connection, result) == set(range(1, len(lines) + 1))

        fuzz()


def every_odd_document(stream, in_camel):
    """Each odd literal once under each key a record may have: in one key style, and at a key nobody knows."""
    shape = SHAPES[stream]
    needed = dict(NEEDED[stream])
    lines = []
    for attribute in (*shape.attributes, "unknown"):
        key = camel(attribute) if in_camel else attribute
        for literal in ODD_LITERALS:
            lines.append(as_object([*{**needed, key: literal}.items()]).encode("utf-8", "surrogatepass"))
    return lines


def places(connection, result):
    """The lines of a file that are in raw or in the rejects; and that the ledger counts them right."""
    query = f"""
        select line_number, 1 from raw.{result.stream} where load_id = %(load)s
        union all select line_number, 0 from raw.rejects where load_id = %(load)s
    """
    found = connection.execute(query, {"load": result.load_id}).fetchall()
    assert (result.records, result.loaded) == (len(found), sum(row for _, row in found))
    ledger = "select records, loaded, rejected from raw.loads where load_id = %s"
    counted = connection.execute(ledger, [result.load_id]).fetchone()
    assert counted == (result.records, result.loaded, result.rejected)
    assert result.records == result.loaded + result.rejected
    return {line for line, _ in found}


# Bytes


def golden_lines():
    """Lines of the golden files by stream."""
    found = {}
    for path in sorted(GOLDEN.rglob("*json")):
        stream = stream_of(path)
        text = path.read_bytes().strip()
        if stream in READ:
            documents = (
                [json.dumps(one).encode() for one in json.loads(text)] if text[:1] == b"[" else text.split(b"\n")
            )
            found.setdefault(stream, []).extend(documents)
    return found


GOLDEN_LINES = golden_lines()
BITS = [
    b"\n",
    b"\r",
    b"\0",
    b'"',
    b"\\",
    b"\\u",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\xff",
    b"\xed\xa0\x80",
    b"e9",
    b"null",
]


def mutated(chance, content):
    """Content with a few of its bytes changed, cut out, put in or repeated."""
    content = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(content) + 1)
        span = chance.choice((0, 1, 1, 2, 9, 60))
        piece = chance.choice(
            (b"", bytes([chance.randrange(256)]), chance.choice(BITS), bytes(content[place : place + span]))
        )
        content[place : place + chance.choice((0, 0, 1, span))] = piece
    return bytes(content)


def damaged_file(chance, stream):
    """A file's content: some golden lines, mutated."""
    lines = chance.choices(GOLDEN_LINES[stream], k=chance.randint(1, 4))
    return mutated(chance, b"\n".join(lines) + b"\n")


def simple_reader(content):
    """How many records a file holds, and under which numbers: the rules of docs/loading.md, in a few lines."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    numbered = {number for number, line in enumerate(lines, 1) if line.strip(BLANKS)}
    whole = parsed(content.removeprefix(b"\xef\xbb\xbf"))
    if isinstance(whole, list):
        return set(range(1, len(whole) + 1))
    first, *others = [line for line in lines if line.strip(BLANKS)] or [b""]
    if isinstance(whole, dict) and parsed(first) is None and not (others and isinstance(parsed(others[0]), dict)):
        return {1}
    return numbered


def parsed(text):
    """Strict JSON, else None. Bytes that are no UTF-8 spoil a record, not the file's structure."""

    def refuse(word):
        raise ValueError(word)

    try:
        return json.loads(text.decode("utf-8", "replace"), parse_constant=refuse)
    except ValueError:
        return None


def decoded_places(path, stream):
    """The numbers under which a file's records come, without a database."""
    decoder = READ[stream]()
    digest, _ = checksum(path)
    numbers = []
    for record in records(path, digest):
        rows_of(decoder, record.content)
        numbers.append(record.number)
    assert len(numbers) == len(set(numbers))
    return set(numbers)


@pytest.mark.parametrize("stream", sorted(GOLDEN_LINES))
def test_no_change_of_bytes_loses_a_record(tmp_path, stream):
    chance = random.Random(f"bytes of {stream}")
    path = tmp_path / f"{stream}.ndjson"
    for _ in range(600):
        content = damaged_file(chance, stream)
        path.write_bytes(content)
        assert decoded_places(path, stream) == simple_reader(content), content


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_an_archive_of_any_bytes_is_read_whole_or_broken(tmp_path, pack):
    chance = random.Random(f"archive by {pack.__module__}")
    whole = broken = 0
    path = tmp_path / f"events.ndjson{'.gz' if pack is gzip.compress else '.zst'}"
    for _ in range(300):
        content = b"\n".join(chance.choices(GOLDEN_LINES["events"], k=20)) + b"\n"
        packed = pack(content)
        path.write_bytes(mutated(chance, packed) if chance.random() < 0.9 else packed)
        try:
            found = decoded_places(path, "events")
        except BrokenFileError:
            broken += 1
        else:
            # Its own checksum says that the content is the one that was packed (zstd has none by default).
            assert pack is zstandard.compress or found == simple_reader(content)
            whole += 1
    assert whole >= 20
    assert broken >= 150


def test_changed_bytes_load_or_are_rejected_in_the_database(database, tmp_path):
    chance = random.Random("bytes into the database")
    with connect(database, autocommit=True) as connection:
        for _ in range(40):
            stream = chance.choice(sorted(GOLDEN_LINES))
            content = damaged_file(chance, stream)
            path = tmp_path / f"{stream}.ndjson"
            path.write_bytes(content)
            result = load_file(connection, path, force=True)
            assert places(connection, result) == simple_reader(content), content


# Memory

MIB = 1024 * 1024
LINE = 8 * MIB - 300
MOST_MEMORY_MIB = 400
LOAD_AND_MEASURE = """
import sys
from ingest.connection import connect
from ingest.load import load_paths
from orchestration.load_process import peak_memory
with connect() as connection:
    (result,) = load_paths(connection, [sys.argv[1]], force=True)
print(result.status, result.loaded, result.rejected, peak_memory() // 2**20)
"""


def line_filled(head, filler, tail):
    """A line just within the limit, most of it one thing over and over."""
    return head + filler * ((LINE - len(head) - len(tail)) // len(filler)) + tail + b"\n"


BATCH_HEAD = b'{"sessionId":"s","batchId":"c1a7a0de-94b5-4a39-9a34-6f1b1f5e7a10","startedAt":1775563200,'
NASTY = {
    # 200 MiB in one line, from an archive of some kilobytes.
    "events-bomb.ndjson.gz": lambda: (gzip.compress(b"a" * (200 * MIB), 1), 0, 1),
    "events-bomb.ndjson.zst": lambda: (zstandard.compress(b"a" * (200 * MIB)), 0, 1),
    "events-tiny_events.ndjson": lambda: (line_filled(b'{"sessionId":"s","events":[', b"1,", b"1]}"), 0, 1),
    # Each bad event would be kept with 4 MiB of its body.
    "events-fat_body.ndjson": lambda: (
        b'{"pad":"' + b"x" * (4 * MIB) + b'","events":[' + b"1," * 500 + b"1]}\n", 0, 1,
    ),
    "events-lists.ndjson": lambda: (
        line_filled(b'{"event":"e","timestamp":1775563200,"a":[', b"[],", b"1]}"), 1, 0,
    ),
    "session_batches-bad_errors.ndjson": lambda: (line_filled(BATCH_HEAD + b'"errorEvents":[', b"1,", b"1]}"), 0, 1),
    # Not read at all: it is one line of 24 MiB, and would be 12 million records.
    "events-array.json": lambda: (b"[" + b"0," * (12 * MIB) + b"0]", 0, 0),
    "events-all_bad.ndjson": lambda: (b'{"event":"no time","pad":"%s"}\n' % (b"x" * 1000) * 10_000, 0, 10_000),
}  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_memory_is_bounded_by_no_file(database, tmp_path, name):
    content, loaded, rejected = NASTY[name]()
    path = tmp_path / name
    path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_MEASURE, str(path)],
        env=os.environ | database.environment(), cwd=CHECKOUT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    status, *numbers = done.stdout.split()
    in_raw, in_rejects, mebibytes = map(int, numbers)
    assert (in_raw, in_rejects) == (loaded, rejected)
    assert status == ("loaded" if loaded or rejected else "failed")
    assert mebibytes < MOST_MEMORY_MIB
