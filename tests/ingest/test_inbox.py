"""The inbox loses nothing: every file is loaded and in done/, or in failed/ with a reason, or still waiting."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest import inbox as inbox_module
from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.inbox import inbox_folder, ingest_inbox
from ingest.load import load_file


def event(number):
    return {"event_name": "clicked", "user_id": f"u{number}", "timestamp": 1772442000 + number}


def drop(inbox, name, *records, age_seconds=60):
    """Puts a file into the inbox as if it had been there for a while."""
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(json.dumps(record).encode() + b"\n" for record in records))
    then = time.time() - age_seconds
    os.utime(path, (then, then))
    return path


def files(inbox):
    """All files of an inbox but its lock, as paths inside it."""
    found = (str(p.relative_to(inbox)) for p in inbox.rglob("*") if p.is_file() and p.name != ".lock")
    return sorted(found)


@pytest.fixture
def loader(fresh_database):
    with connect(fresh_database) as connection:
        yield connection


@pytest.fixture
def inbox(tmp_path):
    return tmp_path / "in"


def loaded_users(connection):
    users = connection.execute("select user_id from raw.events order by load_id, line_number").fetchall()
    connection.commit()
    return [user for (user,) in users]


def test_files_are_loaded_in_order_and_moved_with_their_folders(loader, inbox):
    drop(inbox, "events-2.ndjson", event(2))
    drop(inbox, "events/2026/a.ndjson", event(3))
    drop(inbox, "events-1.ndjson", event(1))
    results = ingest_inbox(loader, inbox)
    assert [result.status for result in results] == ["loaded"] * 3
    # A folder comes before the files whose names begin with its own.
    assert loaded_users(loader) == ["u3", "u1", "u2"]
    assert files(inbox) == ["done/events-1.ndjson", "done/events-2.ndjson", "done/events/2026/a.ndjson"]
    assert ingest_inbox(loader, inbox) == []


def test_a_name_taken_in_done_is_not_overwritten(loader, inbox):
    for number in range(3):
        drop(inbox, "events.ndjson", event(number))
        ingest_inbox(loader, inbox)
    assert files(inbox) == ["done/events.1.ndjson", "done/events.2.ndjson", "done/events.ndjson"]
    contents = {json.loads((inbox / name).read_text())["user_id"] for name in files(inbox)}
    assert contents == {"u0", "u1", "u2"}


def test_a_file_loaded_before_is_moved_without_loading_again(loader, inbox):
    """As after a run killed between the commit and the move."""
    path = drop(inbox, "events.ndjson", event(1))
    load_file(loader, path)
    (result,) = ingest_inbox(loader, inbox)
    assert result.status == "already loaded"
    assert loaded_users(loader) == ["u1"]
    assert files(inbox) == ["done/events.ndjson"]


def test_a_broken_file_is_put_aside_with_its_reason_and_the_others_load(loader, inbox):
    broken = drop(inbox, "events-a.ndjson.gz", event(1))
    broken.write_bytes(gzip.compress(broken.read_bytes())[:-6])
    drop(inbox, "events-b.ndjson", event(2))
    drop(inbox, "mystery.ndjson", event(3))
    statuses = {os.path.basename(result.file): result.status for result in ingest_inbox(loader, inbox)}
    assert statuses == {"events-a.ndjson.gz": "failed", "events-b.ndjson": "loaded", "mystery.ndjson": "failed"}
    assert files(inbox) == [
        "done/events-b.ndjson",
        "failed/events-a.ndjson.gz",
        "failed/events-a.ndjson.gz.reason",
        "failed/mystery.ndjson",
        "failed/mystery.ndjson.reason",
    ]
    assert "cut short" in (inbox / "failed/events-a.ndjson.gz.reason").read_text()
    assert "stream" in (inbox / "failed/mystery.ndjson.reason").read_text()


def test_unfinished_and_foreign_files_stay(loader, inbox):
    names = [".events.ndjson", "events.ndjson.part", "events.ndjson.tmp", ".x/events.ndjson", "events.txt"]
    for name in names:
        drop(inbox, name, event(1))
    assert ingest_inbox(loader, inbox) == []
    assert files(inbox) == sorted(names)
    assert loaded_users(loader) == []


def test_a_file_still_being_written_stays_until_it_rests(loader, inbox):
    path = drop(inbox, "events.ndjson", event(1), age_seconds=0)
    stop = threading.Event()

    def keep_writing():
        with path.open("ab", buffering=0) as file:
            while not stop.wait(0.02):
                file.write(b'{"event_name":"clicked","timestamp":1772442000}\n')

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(keep_writing)
        try:
            assert ingest_inbox(loader, inbox, settle_seconds=0.3) == []
        finally:
            stop.set()
        writing.result()
    assert files(inbox) == ["events.ndjson"]
    (result,) = ingest_inbox(loader, inbox, settle_seconds=0.3)
    assert result.status == "loaded"
    assert result.loaded == len((inbox / "done/events.ndjson").read_bytes().splitlines())


@pytest.mark.parametrize("change", ["append", "replace"])
def test_what_is_put_in_place_of_a_loaded_file_is_loaded_too(loader, inbox, monkeypatch, change):
    """The file changes after its load has committed and before it is moved."""
    drop(inbox, "events.ndjson", event(1))
    real = inbox_module.load_file

    def load_then_change(connection, path, **options):
        result = real(connection, path, **options)
        if change == "append":
            with path.open("ab") as file:
                file.write(json.dumps(event(2)).encode() + b"\n")
        else:
            path.unlink()
            drop(inbox, "events.ndjson", event(2))
        return result

    monkeypatch.setattr(inbox_module, "load_file", load_then_change)
    ingest_inbox(loader, inbox)
    assert files(inbox) == ["events.ndjson"]
    monkeypatch.undo()
    ingest_inbox(loader, inbox, settle_seconds=0)
    assert set(loaded_users(loader)) == {"u1", "u2"}
    assert files(inbox) == ["done/events.ndjson"]


def test_a_change_in_the_instant_of_the_move_is_noticed(loader, inbox, monkeypatch):
    path = drop(inbox, "events.ndjson", event(1))
    real = os.replace

    def append_and_replace(source, target):
        monkeypatch.undo()
        with open(source, "ab") as file:
            file.write(json.dumps(event(2)).encode() + b"\n")
        real(source, target)

    monkeypatch.setattr(os, "replace", append_and_replace)
    ingest_inbox(loader, inbox)
    assert path.exists()
    ingest_inbox(loader, inbox, settle_seconds=0)
    assert set(loaded_users(loader)) == {"u1", "u2"}
    assert not path.exists()


def test_two_runs_at_once_load_everything_once(fresh_database, inbox):
    for number in range(20):
        drop(inbox, f"events-{number:02}.ndjson", event(number))

    def run(_):
        with connect(fresh_database) as connection:
            return len(ingest_inbox(connection, inbox))

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(run, range(3))) == [0, 0, 20]
    assert len(files(inbox)) == 20
    assert all(name.startswith("done/") for name in files(inbox))
    with connect(fresh_database) as connection:
        assert loaded_users(connection) == [f"u{n}" for n in range(20)]


def test_a_warehouse_that_is_not_there_moves_nothing(empty_database, inbox):
    drop(inbox, "events.ndjson", event(1))
    with connect(empty_database) as connection, pytest.raises(TidemarkError, match="migrate"):
        ingest_inbox(connection, inbox)
    assert files(inbox) == ["events.ndjson"]


def test_a_run_killed_at_any_instant_loses_nothing(fresh_database, inbox):
    """Kills runs at growing delays; whatever they left, the next run completes."""
    names = [f"events-{number:02}.ndjson" for number in range(30)]
    for number, name in enumerate(names):
        drop(inbox, name, event(number))
    program = (
        "import sys, pathlib; from ingest.connection import connect; from ingest.inbox import ingest_inbox\n"
        "print('ready', flush=True); ingest_inbox(connect(), pathlib.Path(sys.argv[1]))"
    )
    killed = 0
    for delay in (0.0, 0.03, 0.06, 0.1):
        run = subprocess.Popen(
            [sys.executable, "-c", program, str(inbox)],
            env=os.environ | fresh_database.environment(),
            stdout=subprocess.PIPE,
        )
        run.stdout.readline()
        time.sleep(delay)
        run.send_signal(signal.SIGKILL)
        killed += run.wait() == -signal.SIGKILL
        run.stdout.close()
        kept = [path.name for path in inbox.rglob("events-*.ndjson")]
        assert sorted(kept) == names
    assert killed
    with connect(fresh_database) as connection:
        ingest_inbox(connection, inbox)
        assert sorted(loaded_users(connection)) == sorted(f"u{n}" for n in range(30))
    left = [path.name for path in inbox.glob("*") if path.is_file() and path.name != ".lock"]
    assert left == []


def test_a_run_killed_as_it_moves_a_file_leaves_its_name_free(loader, inbox, monkeypatch):
    """The next run moves the file to its own name, not to one with a number."""
    drop(inbox, "events.ndjson", event(1))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest_inbox(loader, inbox)
    assert files(inbox) == ["events.ndjson"]
    ingest_inbox(loader, inbox)
    assert files(inbox) == ["done/events.ndjson"]


def test_where_the_inbox_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TIDEMARK_INBOX", raising=False)
    assert inbox_folder() == tmp_path / "home" / "inbox"
    monkeypatch.setenv("TIDEMARK_INBOX", str(tmp_path / "elsewhere"))
    assert inbox_folder() == tmp_path / "elsewhere"


def test_an_inbox_that_is_no_folder_says_what_to_do(loader, tmp_path):
    (tmp_path / "in").touch()
    with pytest.raises(TidemarkError, match="TIDEMARK_INBOX"):
        ingest_inbox(loader, tmp_path / "in")
