"""What the ledger and `status` tell, against what was done."""

import gzip
import hashlib
import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ingest import status as library
from ingest.cli import main
from ingest.connection import connect
from ingest.load import load_file
from ingest.rejects import Filters, discard

GOOD = b'{"event_name": "clicked", "user_id": "u1", "timestamp": 1772442000}\n'
BAD = b'{"event_name": "clicked"}\n'
REQUEST = b'{"model": "m", "timestamp": 1772442000}\n'


@pytest.fixture
def loader(fresh_database):
    with connect(fresh_database) as connection:
        yield connection


def write(path, content):
    path.write_bytes(content)
    return path


def ledger(connection, load_id):
    with connection.transaction():
        cursor = connection.execute("select * from raw.loads where load_id = %s", [load_id])
        return dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))


def test_the_ledger_tells_of_each_file_what_became_of_it(loader, tmp_path):
    content = gzip.compress(GOOD + BAD + b'{"event_name": "a\\u0000", "timestamp": 1772442000}\n' + BAD)
    before = datetime.now(timezone.utc)
    result = load_file(loader, write(tmp_path / "events.ndjson.gz", content), app="shop", loaded_by="night job")
    row = ledger(loader, result.load_id)
    told = {
        name: row[name]
        for name in ("stream", "file", "app", "copy_number", "records", "loaded", "rejected", "mended", "loaded_by")
    }
    assert told == {
        "stream": "events", "file": str(tmp_path / "events.ndjson.gz"), "app": "shop", "copy_number": 0,
        "records": 4, "loaded": 2, "rejected": 2, "mended": 1, "loaded_by": "night job",
    }  # fmt: skip
    assert (row["bytes"], row["checksum"]) == (len(content), hashlib.sha256(content).hexdigest())
    # The server's clock is this machine's, or near it.
    assert abs((row["started_at"] - before).total_seconds()) < 300
    assert 0 <= row["seconds"] <= (row["finished_at"] - before).total_seconds() + 300
    assert row["started_at"] <= row["finished_at"]


def test_who_loaded_is_the_login_where_nobody_says(loader, tmp_path, fresh_database):
    result = load_file(loader, write(tmp_path / "events.ndjson", GOOD))
    assert ledger(loader, result.load_id)["loaded_by"] == fresh_database.parameters["user"]


def test_status_tells_loads_rejects_lag_and_inbox(loader, tmp_path):
    inbox = tmp_path / "inbox"
    assert library.status(loader, inbox=inbox) == {
        "loads": [], "rejects": [], "streams": [], "newest_seq": 0, "marks": [],
        "inbox": {"folder": str(inbox), "files": 0, "bytes": 0, "oldest_at": None},
    }  # fmt: skip
    first = load_file(loader, write(tmp_path / "events.ndjson", GOOD + BAD + BAD))
    with loader.transaction():
        loader.execute("insert into ops.bounds (target, completed_seq) values ('prod', %s)", [first.published_seq])
        loader.execute("insert into ops.bounds (target, completed_seq) values ('dev_me', 0)")
    second = load_file(loader, write(tmp_path / "llm_requests.ndjson", REQUEST * 3))
    load_file(loader, write(tmp_path / "events-2.ndjson", b"not json\n"))
    discard(loader, Filters(reason="not JSON"))
    (inbox / "done").mkdir(parents=True)
    for name, content in (("events-3.ndjson", GOOD), ("events-4.json.gz", b"1234"), ("done/events-1.ndjson", GOOD),
                          ("events-5.ndjson.part", GOOD), ("read.me", b"")):  # fmt: skip
        write(inbox / name, content)
    os.utime(inbox / "events-3.ndjson", (1772442000, 1772442000))

    found = library.status(loader, last=2, inbox=inbox)
    assert [(load["stream"], load["records"], load["loaded"], load["rejected"]) for load in found["loads"]] == [
        ("events", 1, 0, 1),
        ("llm_requests", 3, 3, 0),
    ]
    assert [(row["stream"], row["field"], row["open"]) for row in found["rejects"]] == [("events", "occurred_at", 2)]
    streams = {row["stream"]: row for row in found["streams"]}
    assert {name: (row["loads"], row["loaded"], row["rejected"]) for name, row in streams.items()} == {
        "events": (2, 1, 3),
        "llm_requests": (1, 3, 0),
    }
    # A load of which nothing was loaded received nothing.
    assert streams["events"]["newest_received_at"] == ledger(loader, first.load_id)["started_at"]
    assert streams["llm_requests"]["newest_received_at"] == ledger(loader, second.load_id)["started_at"]
    assert found["newest_seq"] == second.published_seq + 1
    assert [(row["target"], row["unseen_loads"], row["unseen_rows"]) for row in found["marks"]] == [
        ("dev_me", 3, 4),
        ("prod", 2, 3),
    ]
    assert found["inbox"] == {
        "folder": str(inbox),
        "files": 2,
        "bytes": len(GOOD) + 4,
        "oldest_at": datetime(2026, 3, 2, 9, tzinfo=timezone.utc),
    }


def test_the_command_prints_tables_or_one_object(fresh_database, loader, tmp_path, monkeypatch, capsys):
    for name, value in fresh_database.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TIDEMARK_INBOX", str(tmp_path / "inbox"))
    monkeypatch.chdir(tmp_path)
    load_file(loader, write(Path("events\x1b[2J.ndjson"), GOOD + BAD))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ingest", "status", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    told = run()
    assert "\x1b" not in told
    for part in ("Last loads", "events\\x1b[2J.ndjson", "Open rejects", "occurred_at", "Streams", "0 files waiting"):
        assert part in told
    found = json.loads(run("--json", "--last", "1"))
    assert found.keys() == {"loads", "rejects", "streams", "newest_seq", "marks", "inbox"}
    assert found["loads"][0]["checksum"] == hashlib.sha256(GOOD + BAD).hexdigest()
