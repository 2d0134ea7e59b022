"""Loading files into a real database."""

import gzip
import hashlib
import json
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import reading
from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.files import BrokenFileError, ChangedFileError, stream_of
from ingest.load import load_file, load_paths
from ingest.sources import find_files

NOT_JSON = b"{not json"


def event(number, **more):
    return {"event_name": "clicked", "user_id": f"u{number}", "timestamp": 1772442000 + number, **more}


def lines(*records):
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


def write(path, *records):
    path.write_bytes(lines(*records))
    return path


def counts(result):
    return result.status, result.records, result.loaded, result.rejected


def stored(connection, result, columns="event_name", table="events"):
    query = f"select {columns} from raw.{table} where load_id = %s order by line_number, element"
    return connection.execute(query, [result.load_id]).fetchall()


@pytest.fixture(scope="module")
def loader(database):
    """A connection that commits each statement by itself, as the loader's callers have."""
    with connect(database, autocommit=True) as connection:
        yield connection


# What a load leaves behind


def test_rows_ledger_and_places(loader, tmp_path):
    body = {"chatbotId": "b", "sessionId": "s", "events": [event(1), event(2)]}
    path = write(tmp_path / "events.ndjson", event(0), b"", b"   ", body, event(3, properties={"a": 1.50}))
    result = load_file(loader, path, loaded_by="a test")
    assert counts(result) == ("loaded", 4, 4, 0)
    assert stored(loader, result, "line_number, element, session_group") == [
        (1, 0, "u:u0"), (4, 1, "s:s"), (4, 2, "s:s"), (5, 0, "u:u3"),
    ]  # fmt: skip
    ledger = loader.execute("select * from raw.loads where load_id = %s", [result.load_id])
    names = [column.name for column in ledger.description]
    row = dict(zip(names, ledger.fetchone(), strict=True))
    content = path.read_bytes()
    assert row["checksum"] == hashlib.sha256(content).hexdigest()
    assert (row["bytes"], row["records"], row["loaded"], row["rejected"]) == (len(content), 4, 4, 0)
    assert (row["loaded_by"], row["file"], row["published_seq"]) == ("a test", str(path), result.published_seq)
    assert row["started_at"] <= row["finished_at"]
    assert stored(loader, result, "distinct received_at, 1 as line_number, 1 as element")[0][0] == row["started_at"]


def test_values_arrive_unharmed(loader, tmp_path):
    text = "tab\there \\ back\\n slash\r\nnew \\. \"quoted\" ',;$$ \u2028 é 😀 '); drop table raw.events; --"
    record = event(1, page_title=text, properties={text: text}, revenue=0.1107, is_conversion=False)
    result = load_file(loader, write(tmp_path / "events.ndjson", record, event(2)))
    (first, second) = stored(loader, result, "page_title, properties, revenue::text, is_conversion, city")
    assert first == (text, {text: text}, "0.1107", False, None)
    assert second == (None, {}, None, None, None)


def test_session_batches_and_requests_arrive(loader, tmp_path):
    batch = {
        "sessionId": "anon-1", "batchId": "3f0c2a52-6a1e-4c8e-8f57-1d0c6f1f9a01", "batchSeq": 1772442235000,
        "startedAt": "2026-03-02T09:00:00Z", "pathSequence": ['/a"b,{}\\', "NULL", ""], "pathTimings": [0, -5, 7],
        "goalEvents": {"won": "2026-03-02T09:01:00Z"},
    }  # fmt: skip
    result = load_file(loader, write(tmp_path / "session_batches.ndjson", batch))
    columns = "batch_seq, path_sequence, path_timings, goal_events, anonymous_id, ended_at"
    (row,) = loader.execute(
        f"select {columns} from raw.session_batches where load_id = %s", [result.load_id]
    ).fetchall()
    assert row == (
        1772442235000, ['/a"b,{}\\', "NULL", ""], [0, -5, 7],
        {"won": "2026-03-02T09:01:00.000000Z"}, "anon-1", None,
    )  # fmt: skip
    request = b'{"requestId":"r","model":"m","cost":1e-7,"tokens":4611686018427387904,"timestamp":1772442000}'
    result = load_file(loader, write(tmp_path / "llm_requests.ndjson", request))
    assert stored(loader, result, "cost_usd::text, total_tokens, record_type", "llm_requests") == [
        ("0.0000001", 2**62, "request")
    ]


# What bad input gets


def test_a_bad_line_is_kept_and_the_rest_loads(loader, tmp_path):
    bad = [NOT_JSON, b"[1, 2]", b'"text"', b"7", b'{"event_name":"no time"}', b'{"a":"\xff"}']
    path = write(tmp_path / "events.ndjson", event(1), *bad, event(2))
    result = load_file(loader, path)
    assert counts(result) == ("loaded", 8, 2, 6)
    rejects = loader.execute(
        "select line_number, element, record, field, stream, file from raw.rejects where load_id = %s order by 1",
        [result.load_id],
    ).fetchall()
    assert [(line, element, record) for line, element, record, *_ in rejects] == [
        (number, 0, record) for number, record in enumerate(bad, 2)
    ]
    assert rejects[4][3:] == ("occurred_at", "events", str(path))
    reasons = loader.execute(
        "select count(*) from raw.rejects where load_id = %s and reason <> ''", [result.load_id]
    ).fetchone()
    assert reasons == (6,)


def test_a_wrong_value_names_its_field(loader, tmp_path):
    at = '"timestamp":1772442000'
    path = write(
        tmp_path / "llm_requests.ndjson",
        f'{{"model":"m","tokens":"many",{at}}}'.encode(),
        f'{{"model":"m","tokens":4611686018427387905,{at}}}'.encode(),
        f'{{"model":"m","tokens":NaN,{at}}}'.encode(),
        b'{"model":"m","timestamp":"9999-01-01T00:00:00Z"}',
    )
    result = load_file(loader, path)
    assert counts(result) == ("loaded", 4, 0, 4)
    fields = loader.execute(
        "select field from raw.rejects where load_id = %s order by line_number", [result.load_id]
    ).fetchall()
    assert fields == [("total_tokens",), ("total_tokens",), ("tokens",), ("occurred_at",)]


def test_an_invalid_uuid_names_its_field(loader, tmp_path):
    batch = {"sessionId": "s", "batchId": "nope", "startedAt": 1772442000}
    result = load_file(loader, write(tmp_path / "session_batches.ndjson", batch))
    field = loader.execute("select field from raw.rejects where load_id = %s", [result.load_id]).fetchone()
    assert (counts(result), field) == (("loaded", 1, 0, 1), ("batch_id",))


def test_nul_and_lone_surrogates_are_replaced_and_counted(loader, tmp_path):
    at = b'"timestamp":1772442000}'
    path = write(
        tmp_path / "events.ndjson",
        rb'{"event":"a\u0000b",' + at,
        b'{"event":"a\x00b",' + at,
        rb'{"event":"a","properties":{"\ud800":"\udfff"},' + at,
        rb'{"event":"a\\u0000",' + at,
        rb'{"event":"\ud83d\ude00",' + at,
    )
    result = load_file(loader, path)
    assert (counts(result), result.mended) == (("loaded", 5, 5, 0), 3)
    names = [name for (name,) in stored(loader, result)]
    assert names == ["a\ufffdb", "a\ufffdb", "a", "a\\u0000", "😀"]
    assert stored(loader, result, "properties")[2][0] == {"\ufffd": "\ufffd"}
    mended = loader.execute("select mended from raw.loads where load_id = %s", [result.load_id]).fetchone()
    assert mended == (3,)


def test_a_reject_keeps_the_bytes_that_were_sent(loader, tmp_path):
    sent = rb'{"event":"a\u0000b"}'
    result = load_file(loader, write(tmp_path / "events.ndjson", sent))
    (record,) = loader.execute("select record from raw.rejects where load_id = %s", [result.load_id]).fetchone()
    assert record == sent


def unusable_files(folder):
    """Files of which nothing may be loaded, and what the message must say beside their name."""
    good = lines(*(event(n) for n in range(1000)))
    packed = gzip.compress(good)
    squeezed = zstandard.compress(good)
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    return {
        "events-cut.ndjson.gz": packed[: len(packed) // 2],
        "events-no-end.ndjson.gz": packed[:-4],
        "events-empty.ndjson.gz": b"",
        "events-plain.ndjson.gz": good,
        "events-damaged.ndjson.gz": bytes(damaged),
        "events-cut.ndjson.zst": squeezed[: len(squeezed) // 2],
        "events-no-end.ndjson.zst": squeezed[:-1],
        "events-empty.ndjson.zst": b"",
        "events-plain.ndjson.zst": good,
    }


@pytest.mark.parametrize("name", unusable_files(None))
def test_nothing_of_a_damaged_file_is_loaded(loader, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(unusable_files(None)[name])
    before = loader.execute("select (select count(*) from raw.loads), (select count(*) from raw.events)").fetchone()
    with pytest.raises(BrokenFileError) as error:
        load_file(loader, path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)
    after = loader.execute("select (select count(*) from raw.loads), (select count(*) from raw.events)").fetchone()
    assert after == before


@pytest.mark.parametrize("change", ["append", "rewrite", "truncate"])
def test_nothing_of_a_file_that_changes_is_loaded(loader, tmp_path, change):
    path = write(tmp_path / "events.ndjson", *(event(n, properties={"x": "y" * 900}) for n in range(5000)))
    size = path.stat().st_size
    seen = 0

    def meddle(read):
        nonlocal seen
        seen += read
        if seen > size and read:
            seen = -(10**12)
            if change == "append":
                with path.open("ab") as file:
                    file.write(lines(event(1)))
            elif change == "rewrite":
                with path.open("r+b") as file:
                    file.seek(size - 30)
                    file.write(b"z")
            else:
                with path.open("r+b") as file:
                    file.truncate(size - 100)

    with pytest.raises(ChangedFileError, match="changed while it was read"):
        load_file(loader, path, progress=meddle)
    assert loader.execute("select count(*) from raw.loads where file = %s", [str(path)]).fetchone() == (0,)


def test_a_missing_file_and_an_unknown_stream_say_what_to_do(loader, tmp_path):
    with pytest.raises(BrokenFileError, match="no such file"):
        load_file(loader, tmp_path / "events.ndjson")
    with pytest.raises(TidemarkError, match="--stream"):
        load_file(loader, write(tmp_path / "mystery.ndjson", event(1)).relative_to("/"))
    with pytest.raises(TidemarkError, match="unknown stream"):
        load_file(loader, tmp_path / "mystery.ndjson", stream="clicks")


def test_overlong_lines_are_rejected_in_bounded_memory(loader, tmp_path):
    path = tmp_path / "events.ndjson"
    with path.open("wb") as file:
        file.write(lines(event(1)))
        file.write(b'{"event_name":"')
        for _ in range(100):
            file.write(b"x" * 1024 * 1024)
        file.write(b'"}\n' + lines(event(2)))
    tracemalloc.start()
    try:
        result = load_file(loader, path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counts(result) == ("loaded", 3, 2, 1)
    # The line is 100 MiB; a reader may hold two copies of the 8 MiB it reads at once, and its buffers.
    assert peak < 40 * 1024 * 1024
    kept = loader.execute(
        "select length(record), line_number from raw.rejects where load_id = %s", [result.load_id]
    ).fetchone()
    assert kept == (reading.KEPT_OF_OVERLONG, 2)
    assert stored(loader, result, "line_number") == [(1,), (3,)]


def test_deep_and_wide_records_are_rejected(loader, tmp_path):
    deep = b'{"event_name":"e","timestamp":1772442000,"a":' + b"[" * 64 + b"]" * 64 + b"}"
    wide = event(1, properties={str(n): n for n in range(10_000)})
    sound = event(1, properties={str(n): n for n in range(9_990)})
    result = load_file(loader, write(tmp_path / "events.ndjson", deep, wide, sound))
    assert counts(result) == ("loaded", 3, 1, 2)


# The same file again


def test_the_same_bytes_load_once_unless_forced(loader, tmp_path):
    first = load_file(loader, write(tmp_path / "events.ndjson", event(77)))
    again = load_file(loader, write(tmp_path / "events-copy.ndjson", event(77)))
    assert (again.status, again.load_id, again.records) == ("already loaded", first.load_id, 0)
    assert again.published_seq == first.published_seq
    forced = load_file(loader, tmp_path / "events.ndjson", force=True)
    twice = load_file(loader, tmp_path / "events.ndjson", force=True)
    assert forced.status == twice.status == "loaded"
    copies = loader.execute(
        "select copy_number from raw.loads where checksum = %s order by load_id", [first.checksum]
    ).fetchall()
    assert copies == [(0,), (1,), (2,)]
    hashes = loader.execute(
        "select count(*), count(distinct content_hash) from raw.events where user_id = 'u77'"
    ).fetchone()
    assert hashes == (3, 1)


def test_copies_loaded_at_the_same_time_load_once(database, tmp_path):
    path = write(tmp_path / "events.ndjson", *(event(n) for n in range(2000)))
    start = threading.Barrier(4)

    def load(_):
        with connect(database) as connection:
            start.wait()
            return load_file(connection, path).status

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(load, range(4)))
    assert statuses == ["already loaded"] * 3 + ["loaded"]


def test_a_copy_waits_for_the_load_it_copies_and_loads_if_that_fails(database, tmp_path):
    """The first load stops before its commit; the second one must wait, and go on when the first is undone."""
    path = write(tmp_path / "events.ndjson", event(501))
    with connect(database) as first, connect(database) as second:
        first.execute(
            "insert into raw.loads (stream, file, checksum, bytes) values ('events', 'x', %s, 1)",
            [hashlib.sha256(path.read_bytes()).hexdigest()],
        )
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(load_file, second, path)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
            first.rollback()
            assert waiting.result(timeout=20).status == "loaded"


def test_published_numbers_grow_in_the_order_of_commits(database, tmp_path):
    """A reader that has seen number n must never later find a smaller one."""
    paths = [write(tmp_path / f"events-{n}.ndjson", event(600 + n)) for n in range(24)]
    seen, done = [], threading.Event()

    def watch():
        with connect(database, autocommit=True) as connection:
            while not done.is_set():
                found = connection.execute("select published_seq from raw.loads order by 1").fetchall()
                seen.append({number for (number,) in found})

    def load(mine):
        with connect(database) as connection:
            return [load_file(connection, path).published_seq for path in mine]

    with ThreadPoolExecutor(4) as pool:
        watcher = pool.submit(watch)
        numbers = [n for loaded in pool.map(load, (paths[0::3], paths[1::3], paths[2::3])) for n in loaded]
        done.set()
        watcher.result()
    assert len(set(numbers)) == len(paths)
    for earlier, later in pairwise(seen):
        assert not earlier or all(number > max(earlier) for number in later - earlier)


def test_a_load_that_is_cut_off_leaves_nothing(database, tmp_path):
    path = write(tmp_path / "events.ndjson", *(event(n, marker="cut") for n in range(20_000)))
    size = path.stat().st_size

    with connect(database) as victim, connect(database, autocommit=True) as other:
        read = 0

        def cut(some):
            nonlocal read
            read += some
            if read > size * 1.5:
                other.execute("select pg_terminate_backend(%s)", [victim.info.backend_pid])

        with pytest.raises(TidemarkError, match="nothing of it is loaded"):
            load_file(victim, path, progress=cut)
        assert other.execute("select count(*) from raw.loads where file = %s", [str(path)]).fetchone() == (0,)
        assert other.execute("select count(*) from raw.events where properties ? 'marker'").fetchone() == (0,)
        result = load_file(other, path)
        assert counts(result) == ("loaded", 20_000, 20_000, 0)


# Kinds of files


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".ndjson", bytes),
        (".ndjson.gz", gzip.compress),
        (".ndjson.zst", zstandard.compress),
        (".jsonl", gzip.compress),
        (".jsonl.gz", lambda content: gzip.compress(content[:500]) + gzip.compress(content[500:])),
        (".jsonl.zst", lambda content: zstandard.compress(content[:500]) + zstandard.compress(content[500:])),
        (".ndjson", lambda content: b"\xef\xbb\xbf" + content),
        (".ndjson", lambda content: content.replace(b"\n", b"\r\n")),
        (".ndjson", lambda content: content.rstrip()),
        (".json", lambda content: b"[" + content.rstrip().replace(b"\n", b",\n") + b"]\n"),
        (".json", lambda content: json.dumps([json.loads(x) for x in content.splitlines()], indent=1).encode()),
    ],
)
def test_every_kind_of_file_says_the_same(fresh_database, tmp_path, suffix, pack):
    content = lines(*(event(n) for n in range(40)))
    path = tmp_path / f"events{suffix}"
    path.write_bytes(pack(content))
    with connect(fresh_database) as connection:
        result = load_file(connection, path)
        assert counts(result) == ("loaded", 40, 40, 0)
        assert stored(connection, result, "user_id") == [(f"u{n}",) for n in range(40)]


def test_one_pretty_document_is_one_record(loader, tmp_path):
    path = tmp_path / "events.json"
    path.write_text(json.dumps({"chatbotId": "b", "sessionId": "s", "events": [event(1), event(2)]}, indent=2))
    result = load_file(loader, path)
    assert stored(loader, result, "line_number, element") == [(1, 1), (1, 2)]


@pytest.mark.parametrize("first", [b"[1,2]", b'{"a":', b"[", b"{", b"nonsense", b"[{]"])
def test_a_bad_first_line_does_not_spoil_the_file(loader, tmp_path, first):
    path = write(tmp_path / "events.ndjson", first, event(1), event(2))
    assert counts(load_file(loader, path, force=True)) == ("loaded", 3, 2, 1)


def test_an_array_with_bad_elements(loader, tmp_path):
    path = tmp_path / "events.json"
    path.write_text(json.dumps([event(1), 7, None, {"event_name": "x"}, event(2)]))
    result = load_file(loader, path)
    assert counts(result) == ("loaded", 5, 2, 3)
    assert stored(loader, result, "line_number") == [(1,), (5,)]


def test_an_array_too_large_to_be_read_whole_says_so(loader, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST_DOCUMENT", 1000)
    path = tmp_path / "events.json"
    path.write_text(json.dumps([event(n) for n in range(100)], indent=1))
    with pytest.raises(BrokenFileError, match="one document per line"):
        load_file(loader, path)


def test_an_empty_file_is_a_load_of_nothing(loader, tmp_path):
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n \n")
    assert counts(load_file(loader, path)) == ("loaded", 0, 0, 0)


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("events.ndjson", "events"),
        ("in/2026/widget_events-1.json.gz", "events"),
        ("in/session-batches/2026-03-01.ndjson", "session_batches"),
        ("analytics_user_sessions.json", "session_batches"),
        ("events/llm_requests.ndjson", "llm_requests"),
        ("events/2026/01/part.ndjson", "events"),
        ("costs.ndjson", "costs"),
        ("prevents.ndjson", None),
        ("data.ndjson", None),
    ],
)
def test_the_stream_is_told_by_the_nearest_name(path, stream):
    assert stream_of(Path(path)) == stream


def test_two_streams_in_one_name_are_no_answer():
    with pytest.raises(TidemarkError, match="--stream"):
        stream_of(Path("events-and-costs.ndjson"))


def test_folders_and_patterns_find_each_file_once(tmp_path):
    for name in ("b/events.ndjson", "a/events.json.gz", "a/.events.ndjson", "a/notes.txt", ".git/events.ndjson"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = [tmp_path / "a/events.json.gz", tmp_path / "b/events.ndjson"]
    assert [found.path for found in find_files([tmp_path])] == expected
    assert [found.path for found in find_files([tmp_path / "*/events.*", tmp_path])] == expected
    with pytest.raises(TidemarkError, match="pattern"):
        find_files([tmp_path / "*.csv"])


# Laws


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_nothing_is_lost_whatever_happens_to_the_bytes(loader, tmp_path, data):
    """As many records as non-blank lines, each loaded or rejected, under any change of the lines' bytes."""
    whole = [json.dumps(event(n, properties={"k": "é😀\\"})).encode() for n in range(5)]
    mutated = []
    for line in whole:
        mine = bytearray(line)
        for _ in range(data.draw(st.integers(0, 3))):
            place = data.draw(st.integers(0, len(mine) - 1))
            byte = data.draw(st.integers(0, 255).filter(lambda value: value not in b"\n"))
            mine[place : place + data.draw(st.integers(0, 2))] = bytes([byte])
        mutated.append(bytes(mine))
    path = write(tmp_path / "events.ndjson", event(999), *mutated)
    result = load_file(loader, path, force=True)
    expected = 1 + sum(bool(line.strip(b" \t\r\n")) for line in mutated)
    assert result.records == expected == result.loaded + result.rejected
    in_raw, in_rejects = loader.execute(
        "select (select count(*) from raw.events where load_id = %(load)s),"
        " (select count(*) from raw.rejects where load_id = %(load)s)",
        {"load": result.load_id},
    ).fetchone()
    assert (in_raw, in_rejects) == (result.loaded, result.rejected)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_split_order_duplicates_and_bodies_give_the_same_events(make_database, tmp_path, data):
    """Distinct events, whatever files they came in and however often."""
    events = [event(n, properties={"n": n / 7}) for n in range(12)] + [event(0, event_id="named")]
    told = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=6))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(told)), max_size=3)))
    database = make_database()
    with connect(database) as connection:
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(told)], strict=True)):
            part = told[start:end]
            if data.draw(st.booleans()):
                part = [{"events": part}] if part else []
            load_file(connection, write(tmp_path / f"events-{number}.ndjson", *part))
        query = "select distinct on (content_hash) event_id, user_id, properties from raw.events"
        found = connection.execute(query).fetchall()
        same = connection.execute(
            "select count(*) from (select distinct content_hash, session_group, event_id, occurred_at, user_id,"
            " properties from raw.events) as distinct_rows"
        ).fetchone()
    assert sorted(row[1] for row in found) == sorted(e["user_id"] for e in events)
    assert same == (len(events),)


# The command


def test_the_command_loads_folders_and_leaves_other_files_alone(fresh_database, run_ingest, tmp_path):
    write(tmp_path / "events.ndjson", event(1), NOT_JSON)
    (tmp_path / "truth.json").write_text("{}")
    done = run_ingest("load", tmp_path, server=fresh_database)
    assert done.returncode == 0, done.stderr
    assert "1 rejected" in done.stderr
    assert "truth.json" in done.stderr
    assert "events.ndjson" in done.stdout
    again = run_ingest("load", "--json", tmp_path / "events.ndjson", server=fresh_database)
    assert json.loads(again.stdout)["status"] == "already loaded"
    strict = run_ingest("load", "--strict", "--force", tmp_path / "events.ndjson", server=fresh_database)
    assert strict.returncode == 1


def test_the_command_goes_on_after_a_file_it_cannot_load(fresh_database, run_ingest, tmp_path):
    (tmp_path / "events-a.ndjson.gz").write_bytes(gzip.compress(lines(event(1)))[:-5])
    write(tmp_path / "events-b.ndjson", event(1))
    done = run_ingest("load", "--json", tmp_path, tmp_path / "events-c.ndjson", server=fresh_database)
    assert done.returncode == 2
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["status"] for result in results] == ["failed", "loaded", "failed"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 2
    assert "events-a.ndjson.gz" in errors[0]
    assert "no such file" in errors[1]
    assert "Traceback" not in done.stderr


def test_the_command_on_a_database_without_raw_says_migrate(empty_database, run_ingest, tmp_path):
    path = write(tmp_path / "events.ndjson", event(1))
    done = run_ingest("load", path, server=empty_database)
    assert done.returncode == 2
    assert "python -m ingest migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_load_paths_reports_each_file_and_needs_an_idle_connection(database, tmp_path):
    path = write(tmp_path / "events.ndjson", event(31))
    heard = []
    with connect(database) as connection:
        results = load_paths(connection, [path, path], report=heard.append)
        assert heard == results
        assert len(results) == 1
        connection.execute("select 1")
        with pytest.raises(ValueError, match="transaction"):
            load_file(connection, path)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
