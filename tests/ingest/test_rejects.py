"""Rejects: nothing is lost, what is mended loads once and is cleared with its load, and law 2 holds throughout."""

import base64
import io
import json
import re
import sys
import threading

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import rejects
from ingest.cli import main
from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.load import load_file
from ingest.rejects import Filters
from ingest.shown import readable, visible

GOOD = {"event_name": "clicked", "user_id": "u1", "timestamp": 1772442000}
NO_TIME = {"event_name": "clicked", "user_id": "u2", "revenue": "@"}
# More digits than a float holds.
DIGITS = "12345678901234.123456789"
BATCH = {
    "sessionId": "anon-1",
    "batchId": "3f0c2a52-6a1e-4c8e-8f57-1d0c6f1f9a01",
    "batchSeq": 0,
    "startedAt": "2026-03-02T09:00:00Z",
    "pathSequence": ["/"],
    "pathTimings": [0],
}


@pytest.fixture
def loader(fresh_database):
    with connect(fresh_database) as connection:
        yield connection


@pytest.fixture
def load(loader, tmp_path):
    """Load records, a line each, as one file; returns the result."""

    def load(name, *records, **options):
        path = tmp_path / name
        path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records))
        return load_file(loader, path, **options)

    return load


def rows(connection, statement, *parameters):
    with connection.transaction():
        return connection.execute(statement, parameters).fetchall()


def open_ids(connection):
    return [reject.reject_id for reject in rejects.find(connection, Filters())]


def export(connection, **filters):
    return [json.loads(rejects.export_line(unit)) for unit in rejects.units(connection, Filters(**filters))]


def replay_lines(connection, *told):
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in told]
    return rejects.replay_export(connection, lines, "mended.ndjson")


def check_law_2(connection):
    """Per load: records found = rows in raw + rows in raw.rejects, as the ledger says."""
    found = rows(
        connection,
        """
        select loads.load_id, records, loaded, rejected,
            (select count(*) from raw.events where load_id = loads.load_id)
            + (select count(*) from raw.session_batches where load_id = loads.load_id)
            + (select count(*) from raw.llm_requests where load_id = loads.load_id),
            (select count(*) from raw.rejects where load_id = loads.load_id)
        from raw.loads
        """,
    )
    for load_id, records, loaded, rejected, in_raw, in_rejects in found:
        assert (records, loaded, rejected) == (loaded + rejected, in_raw, in_rejects), load_id


# What is kept, and how it is found


def test_filters_and_groups(loader, load):
    first = load("events-a.ndjson", b"not json", NO_TIME, NO_TIME)
    second = load("llm_requests-b.ndjson", {"model": "m", "tokens": "many", "timestamp": 1772442000})
    load("llm_requests-c.ndjson", {"model": "m", "tokens": "few", "timestamp": 1772442000})
    groups = rejects.summary(loader, Filters())
    assert [(row["stream"], row["field"], row["open"]) for row in groups] == [
        ("llm_requests", "total_tokens", 2),
        ("events", "occurred_at", 2),
        ("events", None, 1),
    ]
    found = {
        "stream": Filters(stream="events"),
        "file": Filters(file="REQUESTS-B"),
        "load": Filters(load_id=first.load_id),
        "reason": Filters(reason='"MANY"'),
        "percent": Filters(reason="%"),
        "newest": Filters(limit=1),
    }
    counts = {name: len(list(rejects.find(loader, wanted))) for name, wanted in found.items()}
    assert counts == {"stream": 3, "file": 1, "load": 3, "reason": 1, "percent": 0, "newest": 1}
    (newest,) = rejects.find(loader, Filters(limit=1))
    assert (newest.file.endswith("c.ndjson"), newest.record) == (
        True, b'{"model": "m", "tokens": "few", "timestamp": 1772442000}',
    )  # fmt: skip
    assert second.rejected == 1


def test_an_id_that_is_not_there_is_named(loader):
    for call in (
        lambda: list(rejects.find(loader, Filters(ids=[7]))),
        lambda: rejects.replay_stored(loader, Filters(ids=[7])),
        lambda: rejects.discard(loader, Filters(ids=[7])),
        lambda: replay_lines(loader, {"reject_id": 7, "record": "x"}),
    ):
        with pytest.raises(TidemarkError, match="there is no reject 7"):
            call()


@given(st.binary(max_size=200))
def test_an_export_gives_back_the_bytes(record):
    first = rejects.Reject(1, 1, "events", "f", 1, 0, None, "r", record, None, None, None, None, None)
    line = rejects.export_line(rejects.Unit((first,), record))
    assert line.count(b"\n") == 1
    ((_, told, back),) = rejects.read_export([line], "f")
    assert (told.reject_id, back) == (1, record)


def test_a_terminal_is_safe_from_what_a_record_holds():
    hostile = "a\x1b[2J\x07\x9b\u202eb\u2028c\u200b\x00\ud800 é 日 😀"
    assert visible(hostile) == "a\\x1b[2J\\x07\\x9b\\u202eb\\u2028c\\u200b\\x00\\ud800 é 日 😀"
    assert readable(b'{"a":1.10,"b":["\xc2\x9b"]}') == '{\n  "a": 1.10,\n  "b": [\n    "\\x9b"\n  ]\n}'
    assert readable(b"\xff\x1b not\njson") == "\\xff\\x1b not\njson"
    assert readable(b"\x00{") == "\\x00{"


# Replay


def test_a_mended_record_loads_with_what_its_load_was_told_and_is_cleared(loader, load):
    # The number is written by hand: Python's JSON would round it.
    bad = json.dumps(NO_TIME).replace('"@"', DIGITS).encode()
    result = load("events.ndjson", GOOD, bad, app="shop")
    (line,) = export(loader)
    assert (line["stream"], line["line_number"], line["element"], line["field"]) == ("events", 2, 0, "occurred_at")
    assert line["record"] == bad.decode()
    # An object instead of the text, every digit kept.
    mended = json.dumps({**line, "record": "@"}).replace('"@"', bad.decode()[:-1] + ', "timestamp": 1772442001}')
    replayed = replay_lines(loader, mended.encode())
    assert (replayed.cleared, replayed.rows, replayed.refused) == (1, 1, [])
    (load_result,) = replayed.loads
    assert load_result.file == f"replay of {result.file}:2"
    assert rows(
        loader, "select user_id, app_id, revenue::text from raw.events where load_id = %s", load_result.load_id
    ) == [("u2", "shop", DIGITS)]
    assert rows(loader, "select cleared_by_load, cleared_by = current_user, note from raw.rejects") == [
        (load_result.load_id, True, None)
    ]
    assert rows(loader, "select app from raw.loads order by load_id") == [("shop",), ("shop",)]
    assert open_ids(loader) == []
    check_law_2(loader)


def test_replaying_twice_loads_once(loader, load):
    load("events.ndjson", NO_TIME)
    (line,) = export(loader)
    line["record"] = GOOD
    assert replay_lines(loader, line).rows == 1
    again = replay_lines(loader, line)
    assert (again.cleared, again.rows, again.earlier, again.loads) == (0, 0, 1, [])
    assert rejects.replay_stored(loader, Filters(ids=[line["reject_id"]])).earlier == 1
    assert rejects.replay_stored(loader, Filters()).loads == []
    assert rows(loader, "select count(*) from raw.events") == [(1,)]


def test_what_is_still_refused_stays_open_and_piles_nothing_up(loader, load):
    load("events.ndjson", NO_TIME, b"not json", b'[{"event_name": "in a list", "timestamp": 1772442000}]', b"{", b"}")
    before = open_ids(loader)
    assert len(before) == 5
    replayed = rejects.replay_stored(loader, Filters())
    assert (replayed.cleared, replayed.loads) == (0, [])
    assert sorted(reject_id for reject_id, _ in replayed.refused) == sorted(before)
    assert "occurred_at: is missing" in dict(replayed.refused)[min(before)]
    assert open_ids(loader) == before
    assert rows(loader, "select count(*) from raw.loads") == [(1,)]


def test_some_are_mended_and_some_are_not(loader, load):
    load("events.ndjson", NO_TIME, NO_TIME, b"not json")
    lines = export(loader)
    lines[0]["record"] = json.dumps(GOOD)
    lines[1]["record"] = {**NO_TIME, "timestamp": "2026-03-02", "revenue": None}
    replayed = replay_lines(loader, *lines)
    assert (replayed.cleared, replayed.rows, len(replayed.refused)) == (2, 2, 1)
    assert replayed.loads[0].file == "replay of 2 rejects"
    assert open_ids(loader) == [replayed.refused[0][0]]
    check_law_2(loader)


def test_stored_records_load_when_the_code_accepts_them_even_as_the_same_bytes(loader, load, monkeypatch):
    # The spool of a file that is one line has the bytes, and so the checksum, of that file.
    result = load("events.ndjson", NO_TIME | {"revenue": 1})
    from ingest.streams import events

    monkeypatch.setattr(events, "choose_time", lambda values, *_: values.__setitem__(events.OCCURRED, "2026-03-02"))
    replayed = rejects.replay_stored(loader, Filters())
    assert (replayed.cleared, replayed.rows) == (1, 1)
    assert replayed.loads[0].checksum == result.checksum
    assert open_ids(loader) == []
    # The same bad line in another file is another record: it loads too, and the marts count it once.
    load("other-events.ndjson", GOOD)
    assert rejects.replay_stored(loader, Filters()).loads == []
    check_law_2(loader)


def test_each_stream_and_app_is_one_load(loader, load):
    load("events.ndjson", NO_TIME, app="a")
    load("events-2.ndjson", {**NO_TIME, "user_id": "u3"}, app="b")
    load("llm_requests.ndjson", {"model": "m"})
    lines = export(loader)
    for line in lines:
        line["record"] = json.loads(line["record"]) | {"timestamp": 1772442000, "revenue": 2}
    replayed = replay_lines(loader, *lines)
    assert (replayed.cleared, len(replayed.loads)) == (3, 3)
    assert rows(loader, "select user_id, app_id from raw.events order by 1") == [("u2", "a"), ("u3", "b")]
    check_law_2(loader)


def test_a_bad_event_of_a_body_is_mended_alone(loader, load):
    body = {"chatbotId": "bot", "sessionId": "s", "events": [GOOD, NO_TIME]}
    load("events.ndjson", body)
    (line,) = export(loader)
    assert line["element"] == 2
    record = json.loads(line["record"])
    record["events"][0] |= {"timestamp": 1772442007, "revenue": 3}
    assert replay_lines(loader, {**line, "record": record}).rows == 1
    assert rows(loader, "select session_group, app_id, user_id from raw.events order by user_id") == [
        ("s:s", "bot", "u1"),
        ("s:s", "bot", "u2"),
    ]
    check_law_2(loader)


def test_bytes_that_are_no_text_come_as_base64_and_may_go_back_so(loader, load):
    load("events.ndjson", b'{"event_name": "caf\xe9", "timestamp": 1772442000}')
    (line,) = export(loader)
    record = base64.b64decode(line["record"]["base64"])
    assert record == b'{"event_name": "caf\xe9", "timestamp": 1772442000}'
    mended = base64.b64encode(record.replace(b"\xe9", "é".encode())).decode()
    assert replay_lines(loader, {**line, "record": {"base64": mended}}).rows == 1
    assert rows(loader, "select event_name from raw.events") == [("café",)]


def test_nul_characters_and_lines_inside_a_record_are_no_hindrance(loader, load):
    load("events.ndjson", NO_TIME, NO_TIME)
    lines = export(loader)
    lines[0]["record"] = json.dumps(GOOD, indent=2)
    lines[1]["record"] = json.dumps(GOOD | {"page_title": "a\x00b"}).replace("\\u0000", "\x00")
    assert replay_lines(loader, *lines).rows == 2
    assert rows(loader, "select page_title from raw.events order by 1") == [("a\ufffdb",), (None,)]


def test_an_overlong_record_is_not_replayed_from_its_beginning(loader, load):
    load("events.ndjson", json.dumps(GOOD | {"page_title": "x" * (9 << 20)}).encode())
    (line,) = export(loader)
    assert "only the first 64 KiB" in line["note"]
    replayed = rejects.replay_stored(loader, Filters())
    assert [reason for _, reason in replayed.refused] == [line["note"]]
    # A person who has the record puts it in.
    assert replay_lines(loader, {**line, "record": GOOD}).cleared == 1


def test_a_file_that_is_no_export_does_nothing(loader, load):
    load("events.ndjson", NO_TIME, NO_TIME)
    good, other = export(loader)
    good["record"] = GOOD
    for bad, message in (
        (b"{", "line 2 is not of an export"),
        ({"record": GOOD}, "line 2 is not of an export"),
        ({**other, "record": 7}, "line 2 is not of an export"),
        ({**other, "record": {"base64": "*"}}, "its base64 cannot be read"),
        (good, "stands in this file twice"),
        ({**other, "line_number": 9}, "has another line_number"),
        ({**other, "file": "elsewhere"}, "has another file"),
    ):
        with pytest.raises(TidemarkError, match=message):
            replay_lines(loader, good, bad)
        assert loader.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert len(open_ids(loader)) == 2
    assert rows(loader, "select count(*) from raw.events") == [(0,)]


def test_of_two_replays_at_once_one_loads(fresh_database, load, loader):
    load("events.ndjson", NO_TIME)
    (line,) = export(loader)
    line["record"] = GOOD
    outcomes = []
    both_read = threading.Barrier(2)
    plain_load = rejects.load_file

    def load_together(*arguments, **options):
        both_read.wait(30)
        return plain_load(*arguments, **options)

    def run():
        with connect(fresh_database) as connection:
            try:
                outcomes.append(replay_lines(connection, line).rows)
            except TidemarkError as error:
                outcomes.append(str(error))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rejects, "load_file", load_together)
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(map(str, outcomes)) == [
        "1", "some of these rejects were cleared meanwhile, nothing is replayed: replay again",
    ]  # fmt: skip
    assert rows(loader, "select count(*) from raw.events") == [(1,)]
    check_law_2(loader)


def test_a_replay_that_fails_clears_nothing(loader, load, monkeypatch):
    load("events.ndjson", NO_TIME)
    (line,) = export(loader)
    line["record"] = GOOD
    monkeypatch.setattr(rejects, "CLEAR", "select 1 / 0")
    with pytest.raises(TidemarkError):
        replay_lines(loader, line)
    assert len(open_ids(loader)) == 1
    assert rows(loader, "select count(*) from raw.events union all select count(*) from raw.loads") == [(0,), (1,)]


# Elements of session batches


def broken_batch():
    return BATCH | {
        "errorEvents": [{"type": "js", "page": "/", "time": 5}, {"page": "/", "time": 7}],
        "goalEvents": {"won": "2026-03-02T09:00:30Z", "lost": "never"},
    }


def test_the_bad_elements_of_a_batch_are_mended_together_and_the_whole_takes_its_place(loader, load):
    result = load("session_batches.ndjson", broken_batch())
    assert (result.records, result.loaded, result.rejected) == (3, 1, 2)
    (line,) = export(loader)
    assert {line["field"], line["also"][0]["field"]} == {"goal_events", "error_events.type"}
    assert json.loads(line["record"]) == broken_batch()
    # Mending one of two is not enough: nothing loads.
    record = json.loads(line["record"])
    record["errorEvents"][1]["type"] = "css"
    half = replay_lines(loader, {**line, "record": record})
    assert (half.cleared, half.rows, len(half.refused)) == (0, 0, 2)
    del record["goalEvents"]["lost"]
    whole = replay_lines(loader, {**line, "record": record})
    assert (whole.cleared, whole.rows) == (2, 1)
    assert open_ids(loader) == []
    assert rows(loader, "select load_id, line_number, superseded_by from raw.superseded") == [
        (result.load_id, 1, whole.loads[0].load_id)
    ]
    # One element named is the whole record: all are cleared already.
    assert rejects.replay_stored(loader, Filters(ids=[line["reject_id"]])).earlier == 1
    check_law_2(loader)


def test_an_element_kept_without_its_record_says_so(loader, load):
    result = load("session_batches.ndjson", broken_batch())
    with loader.transaction():
        # As rejects were kept before whole records were.
        loader.execute("update raw.rejects set record = %s where reject_id = %s", [b'{"lost": "never"}', 1])
        loader.execute("update raw.rejects set record = %s where reject_id = %s", [b'{"page": "/"}', 2])
    lines = export(loader)
    assert [line["note"] for line in lines] == [rejects.ELEMENT_ONLY] * 2
    assert [reason for _, reason in rejects.replay_stored(loader, Filters()).refused] == [rejects.ELEMENT_ONLY] * 2
    replayed = replay_lines(loader, {**lines[0], "record": BATCH})
    assert replayed.cleared == 2
    assert rows(loader, "select load_id from raw.superseded") == [(result.load_id,)]


# Discard


def test_what_is_discarded_is_counted_apart_and_stays(loader, load):
    load("events.ndjson", NO_TIME, b"not json")
    first, second = sorted(open_ids(loader))
    assert rejects.discard(loader, Filters(ids=[second]), "a test file") == 1
    assert rejects.discard(loader, Filters(ids=[second]), "again") == 0
    assert open_ids(loader) == [first]
    assert rows(loader, "select note from raw.rejects where cleared_at is not null") == [("a test file",)]
    groups = rejects.summary(loader, Filters(cleared=True))
    assert [(row["open"], row["replayed"], row["discarded"]) for row in groups] == [(0, 0, 1), (1, 0, 0)]
    check_law_2(loader)


# The command


@pytest.fixture
def command(fresh_database, monkeypatch, capfdbinary):
    """`python -m ingest rejects …` in this process: its exit status, output and errors."""
    for name, value in fresh_database.environment().items():
        monkeypatch.setenv(name, value)

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "argv", ["ingest", "rejects", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = (text.decode() for text in capfdbinary.readouterr())
        assert "\x1b" not in output + errors
        return ended.value.code, output, errors

    return run


def test_the_command_takes_a_reject_all_the_way(command, load, tmp_path):
    load("events.ndjson", GOOD, NO_TIME, b"\x1b[31mnot json")
    assert "occurred_at" in command("list")[1]
    each = [json.loads(line) for line in command("list", "--each", "--json")[1].splitlines()]
    assert [row["line_number"] for row in each] == [3, 2]
    newest, oldest = (row["reject_id"] for row in each)
    shown = command("show", newest, oldest)[1]
    assert "\\x1b[31mnot json" in shown
    assert '  "user_id": "u2"' in shown
    mended = tmp_path / "mended.ndjson"
    assert command("export", "--reason", "is missing", "-o", mended)[0] == 0
    line = json.loads(mended.read_text())
    assert command("export", oldest)[1] == mended.read_text()
    assert command("replay", mended, "--strict")[0] == 1
    mended.write_text(json.dumps({**line, "record": GOOD}) + "\n")
    assert command("replay", mended)[:2] == (0, "1 rejects cleared, 1 rows loaded\n")
    assert command("replay", "-", stdin=mended.read_bytes()) == (
        0, "0 rejects cleared, 0 rows loaded\n", "1 were cleared before\n",
    )  # fmt: skip
    assert command("replay", newest)[2].startswith(f"still refused: {newest}: is not JSON")
    assert command("discard", newest, "--note", "noise")[1] == "1 rejects discarded\n"
    assert command("list") == (0, "", "no rejects\n")
    assert len(command("list", "--all", "--each", "--json")[1].splitlines()) == 2


def test_the_command_says_in_one_line_what_to_mend(command, load, tmp_path):
    load("events.ndjson", NO_TIME)
    there = tmp_path / "there"
    there.touch()
    for wrong, fix in (
        (["replay", "nowhere.ndjson"], "name reject ids, or a file"),
        (["replay", "1", "nowhere.ndjson"], "either one exported file and nothing else"),
        (["list", "--since", "yesterday"], "write it like 2026-03-02"),
        (["show", "99"], "rejects list"),
        (["show", str(2**63)], "rejects list"),
        (["export", "-o", there], "name a new file with --output"),
        (["export", "99", "-o", tmp_path / "nothing"], "rejects list"),
    ):
        status, output, errors = command(*wrong)
        assert (status, output) == (2, "")
        assert re.fullmatch(rf"Error: .*{re.escape(fix)}.*\n", errors), errors
    assert not (tmp_path / "nothing").exists()


def test_the_command_on_a_database_of_older_code_says_migrate(empty_database, run_ingest):
    done = run_ingest("rejects", "list", server=empty_database)
    assert (done.returncode, done.stderr) == (
        2, "Error: this database is not set up for this code: run `python -m ingest migrate`\n",
    )  # fmt: skip
