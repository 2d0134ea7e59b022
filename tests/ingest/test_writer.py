"""The batch writer: what flush() acknowledges is in the inbox once, and no call harms the application."""

import dataclasses
import enum
import inspect
import json
import logging
import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import types
import uuid
from collections import Counter, OrderedDict, UserDict, deque
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import BatchWriter
from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.files import stream_of
from ingest.inbox import inbox_folder, ingest_inbox, waiting
from ingest.landing import buffer as buffer_module
from ingest.landing.encode import encode
from ingest.streams.lines import LARGEST_RECORD
from ingest.streams.registry import READ

CHECKOUT = Path(__file__).resolve().parents[2]
# The thread acts on nothing but a full batch, a flush or the end.
NEVER = 3600
PATIENCE = 60


def landed(inbox):
    """Every record of the visible files, by the files' names; a line that is no JSON fails the test."""
    files = sorted(path for path in Path(inbox).rglob("*.ndjson") if not path.name.startswith("."))
    return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]


def names(inbox):
    return [record["event_name"] for record in landed(inbox)]


def files(inbox):
    return [path for path in Path(inbox).rglob("*") if path.is_file()]


def eventually(condition):
    """Waits for what another thread or process is about to do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def python(program, *arguments, **options):
    """Runs a program in an interpreter of its own and returns it when it has ended."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        **{"cwd": CHECKOUT, "capture_output": True, "text": True, "timeout": PATIENCE, **options},
    )


@pytest.fixture
def inbox(tmp_path):
    return tmp_path / "in"


@pytest.fixture
def writer(inbox):
    with BatchWriter(inbox, flush_seconds=NEVER) as writer:
        yield writer


# What the loader makes of it


def test_each_call_becomes_the_row_it_says(fresh_database, inbox):
    moment = datetime(2026, 3, 2, 9, 0, tzinfo=timezone.utc)
    batch = "3f0c2a52-6a1e-4c8e-8f57-1d0c6f1f9a01"
    with BatchWriter(inbox, "shop") as writer:
        assert writer.track(
            "order_placed", user_id="u", anonymous_id="a", session_id="s", properties={"items": 3}, occurred_at=moment,
            event_id="e1", event_category="sales", revenue=Decimal("19.990"), page_url="/pay", coupon="X",
        )  # fmt: skip
        assert writer.track("plain", app_id="other", timestamp="2026-03-02T09:00:01Z")
        assert writer.llm_request(
            "gpt-4", user_id="u", provider="openai", input_tokens=100, output_tokens=20, cost_usd=Decimal("0.0150"),
            latency_ms=12.6, occurred_at=moment, request_id="r1",
        )  # fmt: skip
        assert writer.llm_request(request_id="r1", rating=1, occurred_at=moment)
        assert writer.session(
            "s", batch_id=batch, user_id="u", started_at=moment, path_sequence=["/", "/pay"], path_timings=[0, 2100],
            goal_events={"paid": moment}, metadata={"plan": "pro"}, interaction_summary={"buy": 2},
        )  # fmt: skip
        assert writer.session("s", llm_interactions=[{"model": "gpt-4", "tokens": 5, "timestamp": moment}])
        assert writer.identify("u", anonymous_id="a", session_id="s", properties={"plan": "pro"}, occurred_at=moment)
    with connect(fresh_database) as connection:
        results = ingest_inbox(connection, inbox)
        expected = {"events": 2, "llm_requests": 2, "session_batches": 2, "identifies": 1}
        expected = {stream: count for stream, count in expected.items() if stream in READ}
        assert {result.stream: result.loaded for result in results if result.status == "loaded"} == expected
        assert sum(result.rejected for result in results) == 0

        def rows(query):
            return connection.execute(query).fetchall()

        assert rows("""
            select event_name, event_id, event_category, app_id, user_id, anonymous_id, session_id, occurred_at,
                revenue::text, page_url, properties
            from raw.events order by line_number
        """)[0] == (
            "order_placed", "e1", "sales", "shop", "u", "a", "s", moment, "19.990", "/pay",
            {"items": 3, "coupon": "X"},
        )  # fmt: skip
        ((app, told_at, event_id),) = rows(
            "select app_id, occurred_at, event_id from raw.events where event_name = 'plain'"
        )
        assert (app, told_at) == ("other", moment.replace(second=1))
        assert uuid.UUID(event_id).version == 4
        assert rows("""
            select record_type, request_id, model, provider, input_tokens, output_tokens, cost_usd::text, latency_ms,
                rating, user_id, app_id
            from raw.llm_requests order by line_number
        """) == [
            ("request", "r1", "gpt-4", "openai", 100, 20, "0.0150", 13, None, "u", "shop"),
            ("feedback", "r1", None, None, None, None, None, None, 1, None, "shop"),
        ]
        whole, only_llm = rows("""
            select session_id, batch_id::text, batch_seq, started_at, path_sequence, path_timings, goal_events,
                metadata, interaction_summary, user_id, app_id, llm_interactions
            from raw.session_batches order by line_number
        """)
        assert whole == (
            "s", batch, 0, moment, ["/", "/pay"], [0, 2100], {"paid": "2026-03-02T09:00:00.000000Z"},
            {"plan": "pro"}, {"buy": 2}, "u", "shop", [],
        )  # fmt: skip
        assert only_llm[0] == "s"
        assert only_llm[3:6] == (None, [], [])
        assert only_llm[-1] == [{"model": "gpt-4", "tokens": 5, "timestamp": "2026-03-02T09:00:00.000000Z"}]
        if "identifies" in READ:
            assert rows("select user_id, anonymous_id, session_id, app_id, occurred_at from raw.identifies") == [
                ("u", "a", "s", "shop", moment)
            ]


def test_a_record_tells_now_and_has_an_id_of_its_own_unless_told(writer, inbox):
    before = datetime.now(timezone.utc)
    writer.track("a")
    writer.track("a", created_at="2026-03-02", id="mine")
    writer.llm_request("m")
    writer.llm_request("m", message_id="msg")
    writer.session("s")
    writer.flush()
    after = datetime.now(timezone.utc)
    records = landed(inbox)
    (fresh, told) = [record for record in records if record.get("event_name")]
    assert before <= datetime.fromisoformat(fresh["occurred_at"].replace("Z", "+00:00")) <= after
    assert uuid.UUID(fresh["event_id"]).version == 4
    assert told == {"event_name": "a", "created_at": "2026-03-02", "id": "mine"}
    (request, by_message) = [record for record in records if record.get("model")]
    assert uuid.UUID(request["request_id"]).version == 4
    assert "request_id" not in by_message
    (session,) = [record for record in records if "batch_id" in record]
    assert uuid.UUID(session["batch_id"])
    assert before <= datetime.fromisoformat(session["started_at"].replace("Z", "+00:00")) <= after


@pytest.mark.parametrize("host", ["events", "llm-requests", "costs.example", "", "böse/../x"])
def test_no_hosts_name_is_taken_for_a_streams(inbox, monkeypatch, host):
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    with BatchWriter(inbox) as writer:
        writer.llm_request("m")
    (file,) = files(inbox)
    assert file.parent == inbox / "llm_requests"
    assert stream_of(file.relative_to(inbox)) == "llm_requests"


def test_the_inbox_is_where_the_loader_looks(monkeypatch, tmp_path):
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path / "home"))
    for told in (None, str(tmp_path / "elsewhere")):
        if told:
            monkeypatch.setenv("TIDEMARK_INBOX", told)
        else:
            monkeypatch.delenv("TIDEMARK_INBOX", raising=False)
        with BatchWriter() as writer:
            writer.track("a")
        assert names(inbox_folder()) == ["a"]


def test_a_changed_working_folder_does_not_move_the_inbox(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with BatchWriter("in") as writer:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        writer.track("a")
    assert names(tmp_path / "in") == ["a"]


def test_the_snippets_of_its_page_do_what_the_page_says(monkeypatch, tmp_path, capsys):
    page = (CHECKOUT / "docs" / "batch-writer.md").read_text(encoding="utf-8")
    monkeypatch.setenv("TIDEMARK_INBOX", str(tmp_path / "in"))
    monkeypatch.chdir(tmp_path)
    told = {name: parameter.default for name, parameter in inspect.signature(BatchWriter).parameters.items()}
    monkeypatch.setitem(BatchWriter.__init__.__kwdefaults__, "flush_seconds", NEVER)
    scope = {}
    for snippet in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(snippet, scope)
    scope["writer"].close()
    (shown,) = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert capsys.readouterr().out == shown
    assert names(tmp_path / "inbox-of-a-job") == ["row_imported"] * 3
    rows = re.findall(r"^\| `(\w+)` \| `?\"?([\w.,]+)", page.partition("## Settings")[2], re.MULTILINE)
    assert [name for name, _ in rows] == list(told)
    for name, default in rows:
        if isinstance(told[name], int | float):
            value = float(default.replace(",", "")) * (2**20 if name == "buffer_bytes" else 1)
            assert value == told[name]


# Batches


def test_a_full_batch_is_written_and_a_smaller_one_waits(inbox):
    with BatchWriter(inbox, flush_seconds=NEVER, batch_size=3) as writer:
        writer.track("1")
        writer.track("2")
        assert (writer.stats()["pending"], files(inbox)) == (2, [])
        writer.track("3")
        eventually(lambda: writer.stats()["written"] == 3)
        assert names(inbox) == ["1", "2", "3"]


def test_what_waits_is_written_after_a_while(inbox):
    with BatchWriter(inbox, flush_seconds=0.05) as writer:
        writer.track("1")
        eventually(lambda: writer.stats()["written"] == 1)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 5), st.booleans())
def test_any_sizes_of_batches_land_every_record_once_in_order(tmp_path_factory, pieces, batch_size, two_streams):
    """`pieces`: how many records come between flushes."""
    inbox = tmp_path_factory.mktemp("inbox")
    sent = 0
    with BatchWriter(inbox, flush_seconds=NEVER, batch_size=batch_size) as writer:
        for piece in pieces:
            for _ in range(piece):
                assert writer.track(str(sent))
                if two_streams:
                    assert writer.llm_request("m", position=sent)
                sent += 1
            assert writer.flush()
            assert names(inbox / "events") == [str(number) for number in range(sent)]
        assert [record["position"] for record in landed(inbox / "llm_requests")] == list(range(sent * two_streams))
        stats = writer.stats()
    assert (stats["accepted"], stats["written"], stats["pending"]) == (sent * (1 + two_streams),) * 2 + (0,)
    assert all(file.stat().st_size for file in files(inbox))


def test_threads_lose_and_double_nothing(inbox):
    writer = BatchWriter(inbox, flush_seconds=0.01, batch_size=7, buffer_size=100_000)

    def work(thread):
        for number in range(500):
            assert writer.track(f"{thread}-{number}")
            if number % 100 == 99:
                assert writer.flush()

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close()
    assert Counter(names(inbox)) == Counter(f"{t}-{n}" for t in range(6) for n in range(500))


# The bounds of the buffer


@pytest.mark.parametrize(("overflow", "kept"), [("drop_newest", [0, 1, 2]), ("drop_oldest", [4, 5, 6])])
def test_a_full_buffer_drops_what_the_policy_says_and_counts(inbox, caplog, overflow, kept):
    writer = BatchWriter(inbox, flush_seconds=NEVER, batch_size=3, buffer_size=3, overflow=overflow)
    # The disk hangs: the thread cannot begin to write.
    with writer._buffer.landing:
        taken = [writer.track(str(number)) for number in range(7)]
        assert writer.stats()["pending"] == 3
    assert taken == [number < 3 or overflow == "drop_oldest" for number in range(7)]
    assert writer.stats()["dropped"] == {"overflow": 4}
    assert writer.flush() is (overflow == "drop_newest")
    assert writer.flush()
    assert names(inbox) == [str(number) for number in kept]
    assert [record.name for record in caplog.records] == ["tidemark"]
    assert overflow in caplog.text


def test_records_being_written_are_not_dropped_to_make_room(inbox, monkeypatch):
    go_on, begun = threading.Event(), threading.Event()
    real = buffer_module.land

    def slow(*arguments):
        begun.set()
        go_on.wait(PATIENCE)
        return real(*arguments)

    monkeypatch.setattr(buffer_module, "land", slow)
    writer = BatchWriter(inbox, flush_seconds=NEVER, batch_size=2, buffer_size=2, overflow="drop_oldest")
    assert writer.track("0")
    assert writer.track("1")
    assert begun.wait(PATIENCE)
    assert not writer.track("2")
    go_on.set()
    assert writer.close()
    assert names(inbox) == ["0", "1"]


def test_bytes_are_bounded_too(inbox):
    writer = BatchWriter(inbox, flush_seconds=NEVER, buffer_bytes=10_000)
    with writer._buffer.landing:
        taken = [writer.track("a", text="x" * 2_000) for _ in range(9)]
    # Beside the text a record has about 120 bytes.
    assert taken == [True] * 4 + [False] * 5
    assert writer.close()


def test_a_record_the_loader_would_refuse_for_its_size_is_dropped(writer, inbox):
    assert buffer_module.LARGEST_RECORD == LARGEST_RECORD
    assert not writer.track("a", text="x" * LARGEST_RECORD)
    assert writer.stats()["dropped"] == {"too_large": 1}


# Trouble


def test_a_flush_that_cannot_write_keeps_everything_for_later(inbox, caplog):
    inbox.touch()
    writer = BatchWriter(inbox, flush_seconds=NEVER)
    for number in range(5):
        assert writer.track(str(number))
        assert writer.flush() is False
    assert writer.stats()["pending"] == 5
    assert len(caplog.records) == 1
    inbox.unlink()
    assert writer.close()
    assert names(inbox) == ["0", "1", "2", "3", "4"]


def test_a_folder_taken_away_is_made_again(writer, inbox):
    writer.track("a")
    assert writer.flush()
    for file in files(inbox):
        file.unlink()
    (inbox / "events").rmdir()
    inbox.rmdir()
    writer.track("b")
    assert writer.flush()
    assert names(inbox) == ["b"]


def test_one_stream_in_trouble_does_not_hold_up_the_other(writer, inbox):
    inbox.mkdir()
    (inbox / "events").touch()
    writer.track("a")
    writer.llm_request("m")
    assert writer.flush() is False
    assert [path.parent.name for path in files(inbox) if path.suffix] == ["llm_requests"]
    (inbox / "events").unlink()
    assert writer.flush()
    assert names(inbox / "events") == ["a"]
    assert len(landed(inbox)) == 2


def test_a_full_disk_leaves_no_half_file_and_is_tried_again(inbox):
    """The system refuses files over 1 KiB, after writing their first 1 KiB."""
    result = python(
        """
        import resource, sys
        from pathlib import Path
        from ingest import BatchWriter
        writer = BatchWriter(sys.argv[1], flush_seconds=3600)
        for number in range(50):
            assert writer.track(str(number), text="x" * 100)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        assert writer.flush() is False
        assert [path for path in Path(sys.argv[1]).rglob("*") if path.is_file()] == []
        assert writer.stats()["pending"] == 50 and writer.stats()["failures"] == 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert writer.flush() is True
        """,
        inbox,
    )
    assert result.returncode == 0, result.stderr
    assert names(inbox) == [str(number) for number in range(50)]


def test_a_file_is_on_disk_before_it_has_a_name_the_loader_sees(writer, inbox, monkeypatch):
    (inbox / "events").mkdir(parents=True)
    seen = []

    def note(what, real):
        def call(*arguments):
            seen.append((what, len(list(waiting(inbox)))))
            return real(*arguments)

        return call

    monkeypatch.setattr(os, "fsync", note("sync", os.fsync))
    monkeypatch.setattr(os, "rename", note("rename", os.rename))
    writer.track("a")
    assert writer.flush()
    assert seen == [("sync", 0), ("rename", 0), ("sync", 1)]


def test_nothing_is_acknowledged_before_its_name_is_on_disk(writer, inbox, monkeypatch):
    """The disk fails as the folder is synced: the file is there, but a power cut might still forget it."""

    def fail(_):
        raise OSError(5, "Input/output error")

    writer.track("a")
    with monkeypatch.context() as patch:
        inbox.mkdir()
        (inbox / "events").mkdir()
        patch.setattr(buffer_module, "sync_folder", fail)
        assert writer.flush() is False
        assert names(inbox) == ["a"]
        assert writer.flush() is False
    assert writer.flush()
    assert names(inbox) == ["a"]


def test_an_error_between_two_streams_doubles_neither(writer, inbox, monkeypatch):
    real = buffer_module.land
    writer.track("a")
    writer.llm_request("m")
    with monkeypatch.context() as patch:

        def fail_then(folder, *arguments):
            if folder.endswith("llm_requests"):
                raise MemoryError
            real(folder, *arguments)

        patch.setattr(buffer_module, "land", fail_then)
        assert writer.flush() is False
    assert writer.flush()
    assert len(landed(inbox)) == 2
    assert names(inbox / "events") == ["a"]


def test_a_thread_that_dies_is_replaced(writer, inbox, monkeypatch):
    def die():
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(writer._buffer, "land_what_waits", die)
        writer.track("a")
        assert writer.flush() is False
        eventually(lambda: not writer._buffer.running)
    assert writer.track("b")
    assert writer._buffer.running
    assert writer.flush()
    assert names(inbox) == ["a", "b"]


def test_without_any_thread_flush_writes_by_itself(writer, inbox, monkeypatch, caplog):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert writer.track("a")
        assert writer.track("b")
        assert writer.flush()
    assert names(inbox) == ["a", "b"]
    assert "can't start new thread" in caplog.text
    assert len(caplog.records) == 1


def test_what_was_taken_in_is_said_to_be_whatever_befalls_the_thread(inbox, monkeypatch, caplog):
    """An application told False would send the record again, and it would be there twice."""

    def out_of_memory(_):
        raise MemoryError

    writer = BatchWriter(inbox, flush_seconds=NEVER, batch_size=2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", out_of_memory)
        taken = [writer.track("a"), writer.track("b")]
    assert taken == [True, True]
    assert "MemoryError" in caplog.text
    assert writer.stats()["dropped"] == {}
    assert writer.close()
    assert names(inbox) == ["a", "b"]


def test_a_flush_ends_when_its_time_is_over(writer, inbox):
    writer.track("a")
    with writer._buffer.landing:
        assert writer.flush(0.01) is False
    assert writer.flush(PATIENCE)
    assert names(inbox) == ["a"]


def test_an_application_whose_log_raises_or_tracks_is_not_harmed(inbox, monkeypatch):
    writer = BatchWriter(inbox, flush_seconds=NEVER, batch_size=1, buffer_size=1)

    class Handler(logging.Handler):
        def emit(self, record):
            writer.track("from the log")
            raise ValueError

    handler = Handler()
    logging.getLogger("tidemark").addHandler(handler)
    try:
        with writer._buffer.landing:
            writer.track("a")
            assert not writer.track("b")
    finally:
        logging.getLogger("tidemark").removeHandler(handler)
    assert writer.close()
    assert names(inbox) == ["a"]
    assert writer.stats()["dropped"] == {"overflow": 2}


def test_a_closed_writer_counts_what_it_no_longer_takes(inbox):
    with BatchWriter(inbox) as writer:
        writer.track("a")
    assert not writer.track("b")
    assert writer.close()
    assert writer.flush()
    assert names(inbox) == ["a"]
    assert writer.stats()["dropped"] == {"closed": 1}


# Whatever the application hands over


class Plan(enum.Enum):
    PRO = "pro"


class Odd(enum.Enum):
    ONE = object()


@dataclasses.dataclass
class Item:
    sku: str
    price: Decimal


class Text(str):
    pass


class Whole(int):
    pass


class Share(float):
    pass


class Fussy:
    """An object that must not be asked anything."""

    def __getattr__(self, name):
        raise RuntimeError

    def __bool__(self):
        raise RuntimeError

    def __eq__(self, other):
        raise RuntimeError

    def __str__(self):
        raise RuntimeError

    __hash__ = object.__hash__
    __repr__ = __str__


cycle: list = [1]
cycle.append(cycle)
knot: dict = {"name": "knot"}
knot["self"] = knot


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (datetime(2026, 3, 2, 9, tzinfo=timezone.utc), "2026-03-02T09:00:00Z"),
        (datetime(2026, 3, 2, 9, 0, 0, 5), "2026-03-02T09:00:00.000005"),
        (date(2026, 3, 2), "2026-03-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), Decimal("1.10")),
        (2**70, 2**70),
        (float("nan"), None),
        (float("-inf"), None),
        (Decimal("NaN"), None),
        (Decimal("-Infinity"), None),
        ("NaN", "NaN"),
        (b"ab", "YWI="),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (frozenset([3]), [3]),
        (deque([1]), [1]),
        (range(2), [0, 1]),
        (Plan.PRO, "pro"),
        (Odd.ONE, "<object>"),
        (Item("a", Decimal("2.50")), {"sku": "a", "price": Decimal("2.50")}),
        ([Item("a", Decimal("NaN"))], [{"sku": "a", "price": None}]),
        (OrderedDict(a=1), {"a": 1}),
        (UserDict(a=1), {"a": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (Text("t"), "t"),
        (Text("t\ud800"), "t\ufffd"),
        (Whole(7), 7),
        (Share(0.5), Decimal("0.5")),
        (Path("/a/b"), "/a/b"),
        ({1: "a", Plan.PRO: "b"}, {"1": "a", "pro": "b"}),
        ({"\udfff": "\ud800x😀"}, {"\ufffd": "\ufffdx😀"}),
        (cycle, [1, "<cycle>"]),
        (knot, {"name": "knot", "self": "<cycle>"}),
        ([cycle, cycle], [[1, "<cycle>"], [1, "<cycle>"]]),
        (Fussy(), "<Fussy>"),
        (Fussy, "<type>"),
        (len, "<builtin_function_or_method>"),
    ],
    ids=lambda value: f"<{type(value).__name__}>",
)
def test_odd_values_are_told_sensibly(value, told):
    line = encode({"properties": {"value": value}})
    assert json.loads(line, parse_float=Decimal) == {"properties": {"value": told}}


def test_a_deep_value_is_cut_where_the_loader_would_refuse_it(writer, inbox, fresh_database):
    # The record and its properties are two levels, and 64 are allowed.
    levels = (50, 59, 60, 61, 62, 63, 64, 65, 100, 900, 5_000)
    for depth in levels:
        deep = "bottom"
        for _ in range(depth):
            deep = [deep]
        assert writer.track(str(depth), properties={"deep": deep})
    assert writer.flush()
    with connect(fresh_database) as connection:
        (result,) = ingest_inbox(connection, inbox)
        assert (result.loaded, result.rejected) == (len(levels), 0)
        kept = "select event_name from raw.events where properties::text like '%bottom%' order by line_number"
        assert connection.execute(kept).fetchall() == [("50",), ("59",), ("60",), ("61",), ("62",)]


class Hostile:
    def __iter__(self):
        raise ZeroDivisionError


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary(max_size=8),
    st.decimals(), st.datetimes(), st.uuids(), st.complex_numbers(), st.builds(object), st.builds(Hostile),
    st.builds(lambda: Fussy()), st.builds(lambda: cycle), st.builds(lambda: knot), st.just(len),
    st.builds(lambda: (n for n in [1])),
)  # fmt: skip
garbage = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3)
    ),
    max_leaves=6,
)
more_garbage = st.dictionaries(
    st.one_of(
        st.text(st.characters(), max_size=4),
        st.sampled_from(
            ["event", "user_id", "properties", "occurred_at", "event_id", "timestamp", "id", "session_id", "model",
             "request_id", "rating", "started_at", "batch_id", "llm_interactions", "path_sequence", "app_id", "self"]
        ),
    ),
    garbage,
    max_size=4,
)  # fmt: skip


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["track", "identify", "llm_request", "session"]),
            st.lists(garbage, max_size=2),
            more_garbage,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_no_garbage_raises_and_what_is_taken_is_json(tmp_path_factory, calls):
    inbox = tmp_path_factory.mktemp("inbox")
    writer = BatchWriter(inbox, flush_seconds=NEVER)
    taken = [getattr(writer, name)(*arguments, **more) for name, arguments, more in calls]
    stats = writer.stats()
    assert stats["accepted"] == sum(taken)
    assert set(stats["dropped"]) <= {"invalid"}
    assert stats["accepted"] + sum(stats["dropped"].values()) == len(calls)
    assert writer.close()
    records = [msgspec.json.decode(line) for file in files(inbox) for line in file.read_bytes().splitlines()]
    assert len(records) == sum(taken)
    assert all(type(record) is dict for record in records)


@pytest.mark.parametrize("timeout", ["soon", -1, 1e300, float("nan"), object()])
def test_no_timeout_raises(writer, timeout):
    writer.track("a")
    assert writer.flush(timeout) in (True, False)
    assert writer.close(timeout) in (True, False)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("batch_size", 0), ("batch_size", "many"), ("batch_size", True), ("buffer_size", 99), ("buffer_bytes", 0),
        ("flush_seconds", 0), ("flush_seconds", float("nan")), ("flush_seconds", float("inf")), ("flush_seconds", "5"),
        ("overflow", "block"), ("app", ""), ("app", 7), ("inbox", ""), ("inbox", 7),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_by_name(setting, value):
    with pytest.raises(TidemarkError, match=setting):
        BatchWriter(**{setting: value})


def test_editors_see_the_calls_arguments_and_their_help():
    for name in ("track", "identify", "llm_request", "session"):
        call = getattr(BatchWriter, name)
        assert {"user_id", "anonymous_id"} <= set(inspect.signature(call).parameters)
        assert inspect.getdoc(call)


# Processes


def test_importing_ingest_is_cheap_and_the_writer_brings_only_msgspec():
    result = python(
        """
        import sys
        import ingest
        assert "ingest.writer" not in sys.modules and "msgspec" not in sys.modules
        from ingest import BatchWriter
        packages = {name.partition(".")[0] for name in sys.modules if not name.startswith("_")}
        foreign = {name for name in packages - sys.stdlib_module_names if "editable" not in name}
        assert foreign <= {"ingest", "msgspec", "typing_extensions"}, foreign
        """
    )
    assert result.returncode == 0, result.stderr


def test_a_program_that_ends_leaves_nothing_behind(inbox):
    """Also what its other exit handlers and its dying objects say, early and late."""
    result = python(
        """
        import atexit, sys
        atexit.register(lambda: writer.track("after the writer's own handler"))
        from ingest import BatchWriter
        class Dying:
            def __del__(self, writer=BatchWriter(sys.argv[1] + "-dying")):
                writer.track("dying")
                writer.flush()
        keep = Dying()
        keep.myself = keep
        writer = BatchWriter(sys.argv[1], flush_seconds=3600)
        writer.track("a")
        BatchWriter(sys.argv[1], flush_seconds=3600).track("of a writer forgotten")
        """,
        inbox,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(names(inbox)) == ["a", "after the writer's own handler", "of a writer forgotten"]
    assert names(f"{inbox}-dying") == ["dying"]


def test_a_fork_gives_the_child_a_buffer_of_its_own(inbox):
    writer = BatchWriter(inbox, flush_seconds=NEVER)
    writer.track("before")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            fresh = writer.stats()
            writer.track("child")
            status = 0 if fresh["accepted"] == 0 and writer.flush() and writer.stats()["written"] == 1 else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    writer.track("parent")
    assert writer.close()
    assert sorted(names(inbox)) == ["before", "child", "parent"]
    assert len({file.name.rsplit("-", 1)[0] for file in files(inbox)}) >= 2


def test_a_parent_that_vanishes_right_after_a_fork_has_written(inbox):
    """As a program does that puts itself into the background."""
    result = python(
        """
        import os, sys
        from ingest import BatchWriter
        writer = BatchWriter(sys.argv[1], flush_seconds=3600)
        writer.track("parent")
        if os.fork():
            os._exit(0)
        writer.track("child")
        """,
        inbox,
    )
    assert result.returncode == 0, result.stderr
    eventually(lambda: len(files(inbox)) == 2 and all(not file.name.startswith(".") for file in files(inbox)))
    assert sorted(names(inbox)) == ["child", "parent"]


def test_forks_in_the_midst_of_calls_and_writes_deadlock_nothing(inbox):
    writer = BatchWriter(inbox, flush_seconds=0.01, batch_size=2, buffer_size=100_000)
    stop = threading.Event()
    sent = Counter()

    def work(thread):
        while not stop.is_set():
            assert writer.track(f"{thread}-{sent[thread]}")
            sent[thread] += 1
            # The other threads have their turn.
            time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    for number in range(15):
        child = os.fork()
        if child == 0:
            # A child that hangs is ended by the alarm, and its status tells.
            signal.alarm(PATIENCE)
            writer.track(f"child-{number}")
            os._exit(0 if writer.flush() else 1)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert writer.close()
    expected = Counter(f"{thread}-{number}" for thread in range(3) for number in range(sent[thread]))
    expected.update(f"child-{number}" for number in range(15))
    assert Counter(names(inbox)) == expected


def in_a_worker(writer, number):
    """Neither flushes nor closes: a worker's end must do."""
    writer.track(f"worker-{number}")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_multiprocessing_write_at_their_end(inbox, method):
    writer = BatchWriter(inbox, "shop", flush_seconds=NEVER)
    writer.track("parent")
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=in_a_worker, args=(writer, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
        assert worker.exitcode == 0
    assert writer.close()
    assert sorted(names(inbox)) == ["parent", "worker-0", "worker-1"]
    assert {record["app_id"] for record in landed(inbox)} == {"shop"}


def test_a_signal_handler_may_track_and_flush(inbox):
    result = python(
        """
        import signal, sys
        from ingest import BatchWriter
        writer = BatchWriter(sys.argv[1], flush_seconds=0.01, batch_size=2, buffer_size=100_000)
        calls = []
        def handler(*_):
            if writer.track("handler"):
                calls.append(1)
            writer.flush(0.5)
            # Set anew only here: on a slow disk handlers would interrupt each other until the stack is full.
            signal.setitimer(signal.ITIMER_REAL, 0.002)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        main = 0
        while len(calls) < 50:
            main += writer.track("main")
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        assert writer.close()
        print(main, len(calls))
        """,
        inbox,
    )
    assert result.returncode == 0, result.stderr
    told = Counter(names(inbox))
    assert result.stdout.split() == [str(told["main"]), str(told["handler"])]


KILLED = """
import os, sys, threading
from ingest import BatchWriter

writer = BatchWriter(sys.argv[1], flush_seconds=0.01, batch_size=5)
if os.fork() == 0:
    who = "child"
else:
    who = "parent"

def work(thread):
    number = 0
    while True:
        first = number
        for _ in range(1 + number % 7):
            writer.track(f"{who}-{thread}-{number}")
            number += 1
        if writer.flush():
            told = "".join(f"{who}-{thread}-{n}\\n" for n in range(first, number))
            os.write(1, told.encode())

threads = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_a_kill_at_any_instant_loses_nothing_acknowledged(inbox):
    """Two processes of three threads each are killed at random instants. A line of at most 4 KiB goes into a
    pipe whole, so what is read was acknowledged."""
    seen = 0
    for round_ in range(8):
        where = inbox / str(round_)
        run = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(where)], cwd=CHECKOUT, stdout=subprocess.PIPE, start_new_session=True
        )
        first = run.stdout.readline()
        time.sleep(random.uniform(0, 0.15))
        os.killpg(run.pid, signal.SIGKILL)
        acknowledged = [name.decode().strip() for name in (first, *run.stdout.readlines())]
        run.wait()
        run.stdout.close()
        found = Counter(names(where))
        assert acknowledged
        assert [name for name in acknowledged if found[name] != 1] == []
        assert max(found.values()) == 1
        seen += len(acknowledged)
    assert seen > 8
