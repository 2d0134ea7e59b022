"""Plain events and blocks of lines: the quick way gives what the general way gives."""

import io
import json
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest import load, reading
from ingest.connection import connect
from ingest.load import load_file
from ingest.streams import plain
from ingest.streams.events import COLUMNS, PROMOTED_KEYS, Events, shape
from ingest.streams.lines import Block, mend
from ingest.streams.record import SEPARATOR

HEAD = "7\t2026-03-02 09:00:00+00\t"
AT = "2026-03-02T12:10:00Z"


def block_of(lines, number=1):
    return Block(number, b"".join(line + b"\n" for line in lines), list(lines))


def as_lines(*records):
    return [json.dumps(record).encode() for record in records]


def unescaped(text):
    for escape, character in (("\\\\", "\0"), ("\\t", "\t"), ("\\n", "\n"), ("\\r", "\r"), ("\0", "\\")):
        text = text.replace(escape, character)
    return text


def taken_rows(events, lines):
    """By line number and element, the columns of the lines that are taken as plain."""
    taken, left = events.take_plain(HEAD, block_of(lines))
    rows = {}
    for columns, texts in taken:
        for text in texts:
            values = [unescaped(value) for value in text.split("\t")]
            row = {name: value for name, value in zip(columns, values, strict=True) if value}
            assert f"{row.pop('load_id')}\t{row.pop('received_at')}\t" == HEAD
            of_line = rows.setdefault(int(row.pop("line_number")), {})
            element = int(row.pop("element"))
            assert element not in of_line
            of_line[element] = row
    assert sorted([*rows, *(place + 1 for place in left)]) == list(range(1, len(lines) + 1))
    return rows


def general_rows(events, line):
    """By element, the columns of the rows the general way makes of a line; None when it refuses anything."""
    decoded = events.decode(mend(line.strip(reading.BLANKS)))
    if decoded.refused:
        return None
    assert decoded.records == len(decoded.rows)
    return {
        element: {name: value for name, value in zip(events.columns, text.split(SEPARATOR), strict=True) if value}
        for element, text in decoded.rows
    }


def assert_equal_rows(lines, app=None):
    events = Events(app)
    rows = taken_rows(events, lines)
    for number, of_line in rows.items():
        expected = general_rows(events, lines[number - 1])
        assert expected is not None, lines[number - 1]
        for row in expected.values():
            row["content_hash"] = row["content_hash"].replace("-", "")
            # The quick way leaves this one to the column's default.
            if row.get("withheld") == "f":
                del row["withheld"]
        assert of_line == expected
        assert mend(lines[number - 1]) is lines[number - 1]
    return rows


# What is plain

PLAIN_RECORDS = [
    {
        "eventId": "e1", "eventName": "purchase", "funnelId": "f", "anonymousId": "a", "sessionId": "s",
        "timestamp": AT, "utmSource": "ads", "isConversion": True, "revenue": 129.9, "currency": "USD",
    },
    {"type": "feature_usage", "userId": "u", "properties": {"featureId": "router", "action": "on"}, "timestamp": AT},
    {
        "userId": "u", "action": "clicked", "category": "notification", "createdAt": AT,
        "metadata": {"notificationId": "n", "nested": {"list": [1, {"a": None}]}},
    },
    {"event_name": "viewed", "visitor_id": "a", "occurred_at": 1772453400000, "page_url": "/p", "props": {}},
    {"event": "scrolled", "session_id": None, "user_id": "undefined", "timestamp": AT, "city": "", "plan": "NaN"},
    {"event": "sized", "timestamp": "2026-03-02T14:10:00.5+02:00", "screen_width": 1920.4, "ip": "::1", "title": 1},
]  # fmt: skip
PLAIN_RECORDS[-1].pop("title")


def test_the_producers_flat_events_are_taken_in_both_key_styles():
    camel = as_lines(*PLAIN_RECORDS)
    snake = as_lines(
        *({"".join(f"_{c.lower()}" if c.isupper() else c for c in k): x for k, x in r.items()} for r in PLAIN_RECORDS)
    )
    assert camel != snake
    first, second = (assert_equal_rows(lines) for lines in (camel, snake))
    assert list(first) == list(second) == [1, 2, 3, 4, 5, 6]
    assert first == second


def test_a_plain_row_holds_what_the_record_says():
    lines = as_lines(
        PLAIN_RECORDS[0] | {"pageTitle": 'tab\there \\ "quoted"\nline', "properties": {"b": 1, "a": "é\t"}}
    )
    row = taken_rows(Events("other"), lines)[1][0]
    digest = row.pop("content_hash")
    assert len(digest) == 32
    assert row == {
        "retention_class": "analytics", "session_group": "s:s", "event_id": "e1", "event_name": "purchase",
        "app_id": "f", "session_id": "s", "anonymous_id": "a", "occurred_at": "2026-03-02T12:10:00+00:00",
        "page_title": 'tab\there \\ "quoted"\nline', "utm_source": "ads", "is_conversion": "t", "revenue": "129.9",
        "currency": "USD", "properties": '{"a":"é\\t","b":1}',
    }  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {"properties": {"workspaceId": "w"}},
        {"properties": {"user_id": "u9"}},
        {"properties": {"doNotTrack": True}},
        {"properties": {"context": {"analyticsConsent": False}}},
        {"properties": [1]},
        {"createdAt": AT},
        {"action": "clicked"},
        {"unknown": 1},
        {"sessionId": "x" * 256},
        {"sessionId": 5},
        {"eventName": "null"},
        # What a widget's session counts is named and counted by the general way.
        {"eventName": "sent"},
        {"eventName": "session_increment"},
        {"eventName": "session_upsert"},
        {"timestamp": "9999-01-01T00:00:00Z"},
        {"timestamp": "tomorrow"},
        {"screenWidth": "wide"},
        {"pageTitle": "a\0b"},
        {"pageTitle": "\ud800"},
        {"properties": {"a": json.loads("[" * 63 + "]" * 63)}},
    ],
)
def test_what_is_not_plain_is_left(more):
    usual = {"eventName": "clicked", "sessionId": "s", "timestamp": AT}
    lines = as_lines(usual, usual | more, usual)
    assert list(assert_equal_rows(lines)) == [1, 3]


BODY = {
    "chatbotId": "b", "sessionId": "s", "anonymous_id": "a", "user_agent": "Mozilla/5.0", "ip_address": "203.0.113.7",
    "screen_width": 1920, "utm_source": None, "events": [
        {"event_name": "widget_loaded", "event_category": "system", "properties": {}, "client_timestamp": AT},
        {"event_name": "message_sent", "properties": {"length": 150}, "client_timestamp": AT, "page_url": "/p"},
    ],
}  # fmt: skip


def test_post_bodies_are_taken_whole_or_left():
    first, second = BODY["events"]
    bodies = [
        BODY,
        BODY | {"events": [first, second | {"screen_width": " null "}]},
        BODY | {"events": [first, second | {"properties": {"plan": "pro"}}]},
        BODY | {"events": [first, second | {"event_name": "x" * 256}]},
        BODY | {"events": []},
        BODY | {"events": [second] * 3, "user_agent": "", "landing_page": "/from"},
        BODY | {"timestamp": AT},
        BODY | {"properties": {"a": 1}},
        {"event": "flat", "timestamp": AT, "properties": {"events": "text"}},
        BODY | {"ip_address": "nowhere"},
        BODY | {"events": [second | {"anonymous_id": "own", "userId": "null"}], "userId": "u"},
    ]
    rows = assert_equal_rows(as_lines(*bodies), app="other")
    assert {number: list(of_line) for number, of_line in rows.items()} == {
        1: [1, 2], 6: [1, 2, 3], 9: [0], 11: [1],
    }  # fmt: skip
    assert rows[1][2] == {
        "retention_class": "analytics", "session_group": "s:s", "content_hash": rows[1][2]["content_hash"],
        "event_id": rows[1][2]["event_id"], "event_name": "message_sent", "app_id": "b", "session_id": "s",
        "anonymous_id": "a", "occurred_at": "2026-03-02T12:10:00+00:00", "page_url": "/p",
        "user_agent": "Mozilla/5.0", "ip_address": "203.0.113.7", "screen_width": "1920",
        "properties": '{"length":150}',
    }  # fmt: skip
    assert (rows[11][1]["anonymous_id"], rows[11][1]["user_id"]) == ("own", "u")


def test_an_app_of_the_call_fills_in_where_the_record_names_none():
    lines = as_lines({"event": "e", "timestamp": AT}, {"event": "e", "timestamp": AT, "appId": "own"})
    rows = assert_equal_rows(lines, app="50%\tof\\")
    assert [row[0]["app_id"] for row in rows.values()] == ["50%\tof\\", "own"]


def test_a_record_deep_only_in_a_key_told_twice_is_left():
    deep = b'{"event":"e","timestamp":1772442000,"properties":{"a":' + b"[" * 70 + b"]" * 70 + b'},"properties":{}}'
    assert assert_equal_rows([*as_lines({"event": "e", "timestamp": AT, "properties": {}}), deep]).keys() == {1}


def test_nesting_is_taken_to_the_limit_and_no_depth_raises():
    record = b'{"event":"e","timestamp":1772442000,"properties":{"a":%s%s}}'
    rows = assert_equal_rows([record % (b"[" * depth, b"]" * depth) for depth in range(1, 1100)])
    # One level is the record, one its properties.
    assert rows.keys() == set(range(1, 63))


def test_layouts_and_known_keys_are_bounded(monkeypatch):
    monkeypatch.setattr(plain, "MOST_KNOWN_KEYS", 3)
    monkeypatch.setattr(plain, "MOST_LESSONS", 20)
    names = [key for key, column in Events().take_plain.__self__.rules.column_of_key.items() if column == "event_name"]
    times = ["timestamp", "created_at", "createdAt", "occurredAt", "client_timestamp"]
    records = [{name: "e", time: AT} for name in names for time in times]
    records += [{"event": "e", "timestamp": AT, "properties": {f"key_{n}": 1}} for n in range(9)]
    events = Events()
    rows = assert_equal_rows(as_lines(*records))
    assert 0 < len(rows) < len(records)
    taken_rows(events, as_lines(*records))
    own = events.take_plain.__self__
    assert len(own.layouts) == plain.MOST_LAYOUTS
    assert len(own.known_keys) == 3
    assert own.lessons < 20
    taken_rows(events, as_lines(records[0]))
    assert own.lessons > 0


# The same rows

texts = st.one_of(
    st.sampled_from(["", "null", "undefined", "NaN", "Null", "a", "s_1", "audit_x", "security", "x" * 255, "😀" * 255]),
    st.sampled_from(["x" * 256, 'say "hi"', "back\\slash\\n", "tab\tand\r\nline", "\0", "\ud800", "%s", "\x7f", " "]),
    st.sampled_from(["sent", "session_upsert", "session_increment", "web_vitals", "false", "true"]),
    st.text(max_size=12),
)
numbers = st.one_of(
    st.sampled_from([0, 1, -1, 1.5, 1772442000, 1772442000123, 2**31, 2**70, 1e30, 0.1, 10**15, 1e400, -0.0]),
    st.integers(),
    st.floats(allow_nan=True),
)
times = st.one_of(
    st.sampled_from([AT, "2026-03-02", "2026-03-02 12:00:00", "2026-03-02T12:00:00", "2026-02-30T00:00:00Z"]),
    st.sampled_from(["2026-03-02T12:00:00.9999999Z", "1969-12-31T23:59:59Z", "2199-12-31T23:59:59.999999-00:30"]),
    st.datetimes().map(lambda time: time.isoformat() + "Z"),
    st.datetimes().map(lambda time: time.isoformat(timespec="milliseconds") + "+05:30"),
    numbers,
    texts,
    st.none(),
)
property_keys = st.one_of(
    st.sampled_from(
        ["label", "position", "user_id", "userId", "timestamp", "consent", "DNT", "do not track", "events", "é"]
    ),
    st.sampled_from(sorted(PROMOTED_KEYS)),
    texts,
)
scalars = st.one_of(texts, numbers, st.booleans(), st.none())
inner = st.recursive(scalars, lambda x: st.lists(x, max_size=2) | st.dictionaries(property_keys, x, max_size=2))
properties = st.one_of(st.dictionaries(property_keys, inner, max_size=4), scalars, st.none())
KEYS = sorted(shape.keys)
VALUES = {"properties": properties, "occurred_at": times}


@st.composite
def records(draw):
    """An event: mostly a plain one, sometimes with odd keys and values."""
    column_of = Events().take_plain.__self__.rules.column_of_key
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=6, unique=True))
    record = {key: draw(VALUES.get(column_of[key], st.one_of(texts, scalars))) for key in keys}
    if draw(st.integers(0, 3)):
        record = {key: value for key, value in record.items() if column_of[key] not in ("event_name", "occurred_at")}
        record[draw(st.sampled_from(["eventName", "event", "type", "action"]))] = draw(texts)
        record[draw(st.sampled_from(["timestamp", "createdAt", "occurred_at"]))] = draw(times)
    if draw(st.integers(0, 9)) == 0:
        record[draw(texts)] = draw(inner)
    return record


@st.composite
def bodies(draw):
    """A POST body of such events, that mostly tells nothing odd itself."""
    column_of = Events().take_plain.__self__.rules.column_of_key
    keys = draw(st.lists(st.sampled_from(KEYS), max_size=6, unique=True))
    body = {key: draw(VALUES.get(column_of[key], st.one_of(texts, scalars))) for key in keys}
    if draw(st.integers(0, 3)):
        not_inherited = Events().take_plain.__self__.rules.not_inherited
        body = {key: value for key, value in body.items() if column_of[key] not in not_inherited}
    events = draw(st.lists(records(), max_size=3))
    return {"events": draw(st.sampled_from([[*events, *events], events, [*events, 1]])), **body}


@st.composite
def blocks_of_lines(draw):
    """Lines as a file may hold them: records in several spellings, repeated with other values, and broken ones."""
    lines = []
    for record in draw(st.lists(st.one_of(records(), bodies()), min_size=1, max_size=4)):
        ascii_only, spaced = draw(st.booleans()), draw(st.booleans())
        text = json.dumps(record, ensure_ascii=ascii_only, separators=None if spaced else (",", ":"))
        line = text.encode("utf-8", "surrogatepass").replace(b"\n", b"")
        lines.append(b" " * draw(st.integers(0, 1)) + line + draw(st.sampled_from([b"", b"\r", b" ", b"x"])))
        if draw(st.integers(0, 4)) == 0:
            lines.append(line[: draw(st.integers(0, len(line)))])
        if draw(st.integers(0, 4)) == 0:
            lines.append(line[:-1] + b"," + line[1:])
    return lines


@settings(max_examples=400)
@given(blocks_of_lines(), st.sampled_from([None, "app", "%s"]))
@example([b'{"event":"e","timestamp":0}', b'{"event":"e","timestamp":true}', b'{"event":"e","timestamp":-1}'], None)
@example([b'{"event":"e","timestamp":1772442000,"properties":{"a":1.50,"b":1e2}}'], "app")
def test_whatever_is_taken_as_plain_is_what_the_general_way_makes_of_it(lines, app):
    assert_equal_rows(lines, app)


plain_texts = st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text)
plain_values = {
    "identifier": st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text),
    "text": st.text(max_size=20).filter(lambda text: "\0" not in text),
}
COMMON = [name for name, convert in COLUMNS.items() if convert.__name__ in plain_values and name != "event_name"]


@settings(max_examples=60)
@given(st.data())
def test_records_of_known_keys_and_sound_values_are_always_taken(data):
    names = data.draw(st.lists(st.sampled_from(COMMON), max_size=8, unique=True))
    strategies = {name: plain_values[COLUMNS[name].__name__] for name in names}
    strategies |= {"event_name": plain_texts.filter(lambda text: text not in plain.NOTHING)}
    if "event_id" in strategies:
        strategies["event_id"] = strategies["event_name"]
    strategies |= {"timestamp": st.sampled_from([AT, 1772442000, "2026-03-02T12:10:00.123+01:00"])}
    strategies |= {"properties": st.dictionaries(st.sampled_from(["a", "b"]), plain_texts)}
    records = data.draw(st.lists(st.fixed_dictionaries(strategies), min_size=1, max_size=5))
    rows = assert_equal_rows([json.dumps(record, ensure_ascii=False).encode() for record in records])
    assert len(rows) == len(records)


# In the warehouse


class GeneralEvents(Events):
    """The stream without its quick way."""

    def __init__(self, app=None):
        super().__init__(app)
        self.take_plain = None


def test_both_ways_leave_the_same_rows_and_rejects(fresh_database, tmp_path, monkeypatch):
    odd = [{"event": "no time"}, {"event": "x", "timestamp": AT, "properties": {"plan": "pro"}}, BODY]
    text = {"event": "t", "timestamp": AT, "pageTitle": 'tab\t \\N \\. "q" \\\\ é 😀\r\n', "properties": {"\t": "\\n"}}
    mended = {"event": "a\0b", "timestamp": AT}
    lines = as_lines(*PLAIN_RECORDS, text, *odd, mended, *PLAIN_RECORDS, text)
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\r\n".join([*lines, b"", b"{broken", *lines * 20]))
    query = "select {} from raw.{} where load_id = %s order by line_number, element"
    monkeypatch.setattr(load, "BATCH", 2000)
    with connect(fresh_database, autocommit=True) as connection:
        columns = [
            name
            for (name,) in connection.execute(
                "select column_name from information_schema.columns where table_schema = 'raw'"
                " and table_name = 'events' and column_name not in ('load_id', 'received_at')"
            )
        ]
        found = []
        for way in (Events, GeneralEvents):
            monkeypatch.setitem(load.DECODERS, "events", way)
            result = load_file(connection, path, force=True)
            rows = connection.execute(query.format(", ".join(columns), "events"), [result.load_id]).fetchall()
            rejects = connection.execute(
                query.format("line_number, element, reason, field, record", "rejects"), [result.load_id]
            ).fetchall()
            found.append((result.records, result.loaded, result.rejected, result.mended, rows, rejects))
        assert found[0] == found[1]
        # 18 lines with 19 events, one of them without a time, 21 times over; and one line that is no JSON.
        assert found[0][:4] == (19 * 21 + 1, 18 * 21, 22, 21)


def test_a_load_in_the_middle_of_its_file_holds_no_other_load_up(database, tmp_path):
    """The first load stops in mid-file until the second has committed."""
    slow, quick = tmp_path / "events-slow.ndjson", tmp_path / "events-quick.ndjson"
    slow.write_bytes(b"\n".join(as_lines(*({"event": f"slow {n}", "timestamp": AT} for n in range(60_000)))))
    quick.write_bytes(b"\n".join(as_lines(*({"event": f"quick {n}", "timestamp": AT} for n in range(2_000)))))
    in_the_middle, go_on = threading.Event(), threading.Event()
    size, seen = slow.stat().st_size, 0

    def stop(read):
        nonlocal seen
        seen += read
        if size < seen - reading.CHUNK < 2 * size and not in_the_middle.is_set():
            in_the_middle.set()
            assert go_on.wait(60)

    assert size > 2 * reading.CHUNK
    with connect(database) as first, connect(database) as second, ThreadPoolExecutor(1) as pool:
        # Waiting for a lock of the first one ends in an error here, not in a timeout of the test.
        second.execute("set lock_timeout = '20s'")
        second.commit()
        waiting = pool.submit(load_file, first, slow, progress=stop)
        try:
            assert in_the_middle.wait(60)
            done = load_file(second, quick)
            assert (done.status, waiting.done()) == ("loaded", False)
        finally:
            go_on.set()
        assert waiting.result().published_seq > done.published_seq
        assert waiting.result().load_id < done.load_id


# Blocks


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([b"", b" ", b"a", b"bcd", b"e" * 9, b"f" * 10, b"g" * 11, b"h" * 30]), max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.integers(1, 9),
)
def test_blocks_hold_every_line_once_under_its_number(lines, ending, ends, block):
    content = ending.join(lines) + (ending if ends else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK", block)
        patch.setattr(reading, "LARGEST_RECORD", 10)
        patch.setattr(reading, "KEPT_OF_OVERLONG", 4)
        found = []
        for piece in reading.blocks(reading.Chained(b"", io.BufferedReader(io.BytesIO(content))), 1):
            if isinstance(piece, Block):
                assert piece.content.removesuffix(b"\n").split(b"\n") == piece.lines
                found += reading.records_of(piece)
            else:
                found.append(piece)
    whole = [line + ending[:-1] for line in lines[:-1]] + [line + ending[:-1] * ends for line in lines[-1:]]
    expected = [(n, line.strip(), len(line) > 10) for n, line in enumerate(whole, 1) if line.strip()]
    assert [(record.number, bool(record.overlong)) for record in found] == [(n, long) for n, _, long in expected]
    assert [record.content for record in found] == [line[:4] if long else line for _, line, long in expected]


def test_memory_does_not_grow_with_the_number_of_long_lines(database, tmp_path):
    path = tmp_path / "events.ndjson"
    line = json.dumps({"event": "e", "timestamp": AT, "pageTitle": "x" * 4 * 1024 * 1024}).encode()
    path.write_bytes(b"\n".join([line] * 16))
    tracemalloc.start()
    try:
        with connect(database) as connection:
            assert load_file(connection, path).loaded == 16
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Sixteen lines are 64 MiB; of one line there are its bytes, its text, its row and its COPY text, some twice.
    assert peak < 45 * 1024 * 1024


def test_a_body_may_not_grow_out_of_memory_through_its_events():
    events = Events()

    def decoded(count):
        body = {"chatbotId": "b", "pageTitle": "x" * 1024 * 1024, "events": BODY["events"][1:] * count}
        return events.decode(json.dumps(body).encode())

    assert (decoded(30).records, len(decoded(30).rows)) == (30, 30)
    tracemalloc.start()
    try:
        refused = decoded(5000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The body is 1.6 MiB; with its events it would be 5 GiB.
    assert peak < 20 * 1024 * 1024
    assert (refused.records, refused.rows, [refusal.field for refusal in refused.refused]) == (1, [], ["events"])
