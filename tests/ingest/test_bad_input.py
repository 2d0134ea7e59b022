"""What bad input gets, by the real command on a real database: exit status, standard error, ledger and rejects."""

import gzip
import importlib
import json
import os
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import pytest
import zstandard

from ingest.connection import connect
from ingest.inbox import ingest_inbox
from ingest.load import shown_path
from ingest.streams.lines import LARGEST_RECORD
from tests.conftest import CHECKOUT

# The table "What bad input gets" of the wire formats: each row, and the tests that prove it.
PROOFS = {
    "a line that is not JSON, not an object, or lacks what its stream needs": (
        "test_bad_input.test_lines_that_lack_what_their_stream_needs",
        "test_load.test_a_bad_line_is_kept_and_the_rest_loads",
    ),
    "a wrong type, a number out of range, NaN, a date in year 9999, an invalid UUID": (
        "test_bad_input.test_a_wrong_value_is_refused_naming_its_field",
        "test_streams.test_a_wrong_type_or_range_is_refused_naming_the_field",
        "test_streams.test_a_bad_element_is_refused_by_itself_and_the_batch_loads",
    ),
    "NUL characters or lone surrogates inside strings": (
        "test_bad_input.test_nul_and_lone_surrogates_in_keys_and_values_are_replaced_and_counted",
        "test_load.test_a_reject_keeps_the_bytes_that_were_sent",
    ),
    "a truncated archive, a file that changes while it is read, a file that is not there": (
        "test_bad_input.test_a_file_that_cannot_be_loaded_is_one_line_and_nothing_of_it_is_loaded",
        "test_bad_input.test_a_file_that_changes_while_it_is_read_is_not_loaded",
        "test_load.test_nothing_of_a_damaged_file_is_loaded",
        "test_load.test_nothing_of_a_file_that_changes_is_loaded",
    ),
    "the same file again": (
        "test_bad_input.test_the_same_file_again_loads_nothing_unless_forced",
        "tests.warehouse.test_same_answer.test_random_loads_in_random_order_give_the_full_builds_marts",
    ),
    "a line over 8 MiB, nesting over 64 levels, a key count over 10,000": (
        "test_bad_input.test_what_is_too_long_too_deep_or_too_wide_is_refused_and_what_is_just_not_loads",
        "test_fuzz.test_memory_is_bounded_by_no_file",
    ),
    "SQL, HTML or formula text in any string": (
        "test_bad_input.test_sql_html_and_formulas_are_stored_as_text",
    ),
    "events from the future or older than the horizon": (
        "test_bad_input.test_what_comes_from_the_future_or_before_the_horizon_is_loaded_and_kept_out_of_staging",
    ),
    "the process killed at any instant": (
        "test_crashes.test_a_load_killed_at_any_instant_is_wholly_in_or_wholly_out",
    ),
}  # fmt: skip
# How standard error ends when records were rejected.
SEE = "rejected: see `python -m ingest rejects list`\n"

AT = '"timestamp":1775563200'
BATCH = {
    "sessionId": "s",
    "batchId": "c1a7a0de-94b5-4a39-9a34-6f1b1f5e7a10",
    "batchSeq": 0,
    "startedAt": "2026-04-07T12:00:00Z",
}
GOOD = {
    "events": b'{"event":"good","timestamp":1775563200}',
    "llm_requests": b'{"model":"good","timestamp":1775563200}',
    "session_batches": json.dumps(BATCH).encode(),
}


@pytest.mark.parametrize("proof", [proof for proofs in PROOFS.values() for proof in proofs])
def test_every_row_of_the_table_has_its_proof(proof):
    module, _, name = proof.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.fixture(scope="module")
def reader(database):
    with closing(connect(database, autocommit=True)) as connection:
        yield connection


def write(path, *lines):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def results(done):
    """What `--json` tells of each file, by the file's name."""
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {result["file"].rpartition("/")[2]: result for result in told}


def rejects(connection, result):
    """The rejects of a load: (line, field, bytes), in order; each says why, its field first."""
    query = """
        select line_number, field, record, reason, file, stream from raw.rejects
        where load_id = %s order by line_number, element
    """
    found = connection.execute(query, [result["load_id"]]).fetchall()
    for _, field, _, reason, file, stream in found:
        assert (file, stream) == (result["file"], result["stream"])
        assert reason.startswith(f"{field}: ") if field else len(reason) > 10
    return [row[:3] for row in found]


def ledger(connection, result):
    """What the ledger and the tables say of a load: (records, loaded, rejected, rows there, rejects there)."""
    query = f"""
        select records, loaded, rejected,
            (select count(*) from raw.{result["stream"]} where load_id = loads.load_id),
            (select count(*) from raw.rejects where load_id = loads.load_id)
        from raw.loads where load_id = %s
    """
    return connection.execute(query, [result["load_id"]]).fetchone()


def is_clean(done):
    return "Traceback" not in done.stderr and "Traceback" not in done.stdout


def errors(done):
    assert is_clean(done), done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("Error: ")]


# A line that is not JSON, not an object, or lacks what its stream needs

LACKING = {
    "events": [
        (b"{not json", None),
        (b'{"event":"e",' + AT.encode() + b"} {}", None),
        (b"{'event':'e'}", None),
        (b'{"event":"e",' + AT.encode() + b",}", None),
        (b'{"event":"\xff",' + AT.encode() + b"}", None),
        (b"[1, 2]", None),
        (b'"text"', None),
        (b"7", None),
        (b"null", None),
        (b"{}", "event_name"),
        (b'{"event":"no time"}', "occurred_at"),
        (b'{"sessionId":"s",' + AT.encode() + b"}", "event_name"),
        (b'{"sessionId":"s","events":[]}', "events"),
    ],
    "llm_requests": [
        (b"\x00\x01\x02", None),
        (b'{"model":"m"}', "occurred_at"),
        (b'{"requestId":"r",' + AT.encode() + b"}", "model"),
        (b'{"type":"feedback","rating":1,' + AT.encode() + b"}", "request_id"),
    ],
    "session_batches": [
        (b'{"batchId":"c1a7a0de-94b5-4a39-9a34-6f1b1f5e7a10","startedAt":1775563200}', "session_id"),
        (b'{"sessionId":"s","startedAt":1775563200}', "batch_id"),
        (b'{"sessionId":"s","batchId":"c1a7a0de-94b5-4a39-9a34-6f1b1f5e7a10"}', "started_at"),
    ],
}


def test_lines_that_lack_what_their_stream_needs(database, reader, run_ingest, tmp_path):
    for stream, lacking in LACKING.items():
        write(tmp_path / f"{stream}.ndjson", GOOD[stream], *(line for line, _ in lacking), GOOD[stream])
    done = run_ingest("load", "--json", tmp_path, server=database)
    assert (done.returncode, done.stderr) == (
        0,
        f"{sum(map(len, LACKING.values()))} {SEE}",
    )
    for stream, lacking in LACKING.items():
        result = results(done)[f"{stream}.ndjson"]
        assert ledger(reader, result) == (len(lacking) + 2, 2, len(lacking), 2, len(lacking))
        assert rejects(reader, result) == [(number, field, line) for number, (line, field) in enumerate(lacking, 2)]
    strict = run_ingest("load", "--strict", "--force", tmp_path, server=database)
    assert strict.returncode == 1


# A wrong type, a number out of range, NaN, a date in year 9999, an invalid UUID

WRONG = {
    "events": [
        ('"event":"e","timestamp":"9999-12-31T23:59:59Z"', "timestamp"),
        ('"event":"e","timestamp":"0000-01-01"', "timestamp"),
        ('"event":"e","timestamp":1e400', "timestamp"),
        ('"event":"e","timestamp":["2026"]', "timestamp"),
        ('"event":"e","createdAt":"31/12/2026"', "created_at"),
        (f'"event":"e",{AT},"screenWidth":"wide"', "screen_width"),
        (f'"event":"e",{AT},"screen_height":2147483648', "screen_height"),
        (f'"event":"e",{AT},"revenue":"1,50"', "revenue"),
        (f'"event":"e",{AT},"revenue":1e15', "revenue"),
        (f'"event":"e",{AT},"revenue":NaN', "revenue"),
        (f'"event":"e",{AT},"isConversion":"perhaps"', "is_conversion"),
        (f'"event":"e",{AT},"ipAddress":"300.1.1.1"', "ip_address"),
        (f'"event":"e",{AT},"properties":[]', "properties"),
        (f'"event":"e",{AT},"properties":{{"depth":{{"odd":-Infinity}}}}', "odd"),
        (f'"event":{{"name":"e"}},{AT}', "event_name"),
        (f'"event":"{"e" * 256}",{AT}', "event_name"),
    ],
    "llm_requests": [
        (f'"model":"m",{AT},"tokens":"many"', "total_tokens"),
        (f'"model":"m",{AT},"tokens":-1', "total_tokens"),
        (f'"model":"m",{AT},"tokens":99999999999999999999', "total_tokens"),
        (f'"model":"m",{AT},"tokens":Infinity', "tokens"),
        (f'"model":"m",{AT},"cost":true', "cost_usd"),
        (f'"model":"m",{AT},"cost":-0.01', "cost_usd"),
        (f'"model":"m",{AT},"responseTime":"1.5 s"', "latency_ms"),
        (f'"model":["m"],{AT}', "model"),
        ('"model":"m","timestamp":"9999-01-01T00:00:00Z"', "occurred_at"),
    ],
    "session_batches": [
        ('"batchId":"c1a7a0de"', "batch_id"),
        ('"batchId":7', "batch_id"),
        ('"batchSeq":"first"', "batch_seq"),
        ('"batchSeq":9223372036854775808', "batch_seq"),
        ('"startedAt":"9999-01-01T00:00:00Z"', "started_at"),
        ('"pathSequence":"/a"', "path_sequence"),
        ('"pathTimings":[0,"soon"]', "path_timings"),
        ('"interactionSummary":["a"]', "interaction_summary"),
        ('"metadata":"plan"', "metadata"),
    ],
}  # fmt: skip


def batch_with(told):
    """A batch with one thing said otherwise."""
    key = told.partition(":")[0].strip('"')
    rest = {name: value for name, value in BATCH.items() if name != key}
    return json.dumps(rest)[:-1] + "," + told + "}"


def test_a_wrong_value_is_refused_naming_its_field(database, reader, run_ingest, tmp_path):
    lines = {
        stream: [(batch_with(told) if stream == "session_batches" else "{" + told + "}").encode() for told, _ in wrong]
        for stream, wrong in WRONG.items()
    }
    for stream in WRONG:
        write(tmp_path / f"{stream}.ndjson", GOOD[stream], *lines[stream])
    done = run_ingest("load", "--json", tmp_path, server=database)
    assert (done.returncode, done.stderr) == (
        0,
        f"{sum(map(len, WRONG.values()))} {SEE}",
    )
    for stream, wrong in WRONG.items():
        result = results(done)[f"{stream}.ndjson"]
        assert ledger(reader, result) == (len(wrong) + 1, 1, len(wrong), 1, len(wrong))
        assert rejects(reader, result) == [
            (number, field, line) for number, ((_, field), line) in enumerate(zip(wrong, lines[stream], strict=True), 2)
        ]


# NUL characters and lone surrogates

MENDED = {
    "events": (
        "properties",
        [
            (rb'{"event":"e","timestamp":1775563200,"properties":{"k\u0000":"v\u0000"}}', {"k\ufffd": "v\ufffd"}),
            (b'{"event":"e","timestamp":1775563200,"k\x00":"v\x00"}', {"k\ufffd": "v\ufffd"}),
            (rb'{"event":"e","timestamp":1775563200,"\ud800":"\udc00\ud83d\ude00"}', {"\ufffd": "\ufffd\U0001f600"}),
            (b'{"event":"e","timestamp":1775563200,"k\xed\xa0\x80":1}', {"k\ufffd": 1}),
        ],
    ),
    "session_batches": (
        "interaction_summary",
        [
            (
                json.dumps({**BATCH, "interactionSummary": {"btn\0": 1, "\ud800": 2}}).encode(),
                {"btn\ufffd": 1, "\ufffd": 2},
            ),
        ],
    ),
}  # fmt: skip


def test_nul_and_lone_surrogates_in_keys_and_values_are_replaced_and_counted(database, reader, run_ingest, tmp_path):
    for stream, (_, told) in MENDED.items():
        write(tmp_path / f"{stream}.ndjson", GOOD[stream], *(line for line, _ in told))
    done = run_ingest("load", "--json", tmp_path, server=database)
    assert (done.returncode, done.stderr) == (0, "")
    for stream, (column, told) in MENDED.items():
        result = results(done)[f"{stream}.ndjson"]
        query = f"select {column} from raw.{stream} where load_id = %s and line_number > 1 order by line_number"
        assert [row[0] for row in reader.execute(query, [result["load_id"]])] == [kept for _, kept in told]
        query = "select mended from raw.loads where load_id = %s"
        assert reader.execute(query, [result["load_id"]]).fetchone() == (len(told),)


# Files that cannot be loaded


def unusable(folder):
    """Paths of which nothing may be loaded, each with what its line must say beside the path."""
    good = GOOD["events"] + b"\n"
    many = b"".join(b'{"event":"e","timestamp":1775563200,"n":%d}\n' % number for number in range(2000))
    made = {
        "events-cut.ndjson.gz": gzip.compress(many)[:-20],
        "events-cut.ndjson.zst": zstandard.compress(many)[:-20],
        "events-empty.ndjson.gz": b"",
        "events-not.ndjson.gz": good,
        "events-not.ndjson.zst": good,
    }
    paths = {}
    for name, content in made.items():
        (folder / name).write_bytes(content)
        paths[folder / name] = "damaged or cut short"
    (folder / "events-folder.ndjson").mkdir()
    paths[folder / "events-folder.ndjson"] = "no data files in this folder"
    paths[folder / "events-missing.ndjson"] = "no such file"
    (folder / "events-dangling.ndjson").symlink_to(folder / "nowhere")
    paths[folder / "events-dangling.ndjson"] = "no such file"
    (folder / "events-loop.ndjson").symlink_to(folder / "events-loop.ndjson")
    paths[folder / "events-loop.ndjson"] = "cannot be read"
    os.mkfifo(folder / "events-pipe.ndjson")
    paths[folder / "events-pipe.ndjson"] = "is no plain file"
    paths[folder / "events-missing-\udcff.ndjson"] = "no such file"
    paths[folder / "events-two\nlines.ndjson"] = "no such file"
    if os.path.exists("/proc/self/mem"):
        # Opens, and then every read fails, for root too.
        (folder / "events-unreadable.ndjson").symlink_to("/proc/self/mem")
        paths[folder / "events-unreadable.ndjson"] = "cannot be read"
    if os.geteuid() != 0:
        (folder / "events-forbidden.ndjson").write_bytes(good)
        (folder / "events-forbidden.ndjson").chmod(0)
        paths[folder / "events-forbidden.ndjson"] = "cannot be read"
    return paths


def test_a_file_that_cannot_be_loaded_is_one_line_and_nothing_of_it_is_loaded(database, reader, run_ingest, tmp_path):
    paths = unusable(tmp_path)
    folders = [path for path in paths if path.is_dir()]
    files = [path for path in paths if path not in folders]
    good = write(tmp_path / "good" / "events.ndjson", b'{"event":"beside bad files","timestamp":1775563200}')
    before = reader.execute("select count(*), max(load_id) from raw.loads").fetchone()
    done = run_ingest("load", "--json", *files, good, server=database, timeout=60)
    assert done.returncode == 2
    said = errors(done)
    assert len(said) == len(files) == len(done.stderr.splitlines())
    for line, path in zip(said, files, strict=True):
        assert path.name[:10] in line
        assert paths[path] in line, line
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["status"] for result in told] == ["failed"] * len(files) + ["loaded"]
    after = reader.execute("select count(*), max(load_id) from raw.loads").fetchone()
    assert after == (before[0] + 1, told[-1]["load_id"])
    for folder in folders:
        done = run_ingest("load", folder, server=database)
        assert done.returncode == 2
        assert [line for line in errors(done) if paths[folder] in line]
    assert reader.execute("select count(*) from raw.loads").fetchone() == (after[0],)


def test_a_file_that_changes_while_it_is_read_is_not_loaded(database, reader, tmp_path):
    """The load waits for another one of the same bytes, between its two readings of the file."""
    path = write(tmp_path / "events.ndjson", b'{"event":"before","timestamp":1775563200}')
    with connect(database) as other:
        checksum = "encode(sha256(%s), 'hex')"
        other.execute(
            f"insert into raw.loads (stream, file, checksum, bytes) values ('events', 'x', {checksum}, 1)",
            [path.read_bytes()],
        )
        with started("load", path, server=database) as loading:
            wait_for_lock(reader)
            write(path, b'{"event":"after","timestamp":1775563200}')
            other.rollback()
            _, said = loading.communicate(timeout=60)
    assert loading.returncode == 2
    assert said.splitlines() == [f"Error: {path}: changed while it was read; load it again when it is complete"]
    assert reader.execute("select count(*) from raw.loads where file = %s", [str(path)]).fetchone() == (0,)


@contextmanager
def started(*arguments, server):
    """The command in a process of its own that runs on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ingest", *map(str, arguments)],
        env=os.environ | server.environment(), cwd=CHECKOUT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_lock(connection):
    """Returns when a session of this database waits for another one."""
    query = """
        select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
    """
    deadline = time.monotonic() + 60
    while connection.execute(query).fetchone() == (0,):
        assert time.monotonic() < deadline, "the load never waited"
        time.sleep(0.02)


# The same file again


def test_the_same_file_again_loads_nothing_unless_forced(database, reader, run_ingest, tmp_path):
    path = write(tmp_path / "events.ndjson", b'{"event":"again","timestamp":1775563200}', b"bad")
    copy = write(tmp_path / "elsewhere" / "events-copy.ndjson", *path.read_bytes().splitlines())
    first = results(run_ingest("load", "--json", path, server=database))["events.ndjson"]
    done = run_ingest("load", "--strict", path, copy, server=database)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("already loaded") == 2
    assert reader.execute("select count(*) from raw.events where event_name = 'again'").fetchone() == (1,)
    forced = results(run_ingest("load", "--json", "--force", path, server=database))["events.ndjson"]
    assert ledger(reader, forced) == ledger(reader, first) == (2, 1, 1, 1, 1)
    # What the marts count once by: equal content.
    query = "select count(*), count(distinct (content_hash, event_id)) from raw.events where event_name = 'again'"
    assert reader.execute(query).fetchone() == (2, 1)


# Limits


def padded(size):
    """An event of exactly so many bytes."""
    head, tail = b'{"event":"long","timestamp":1775563200,"pad":"', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def nested(levels):
    """An event of exactly so many levels, itself the first."""
    return b'{"event":"deep","timestamp":1775563200,"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def wide(keys):
    """An event of exactly so many keys, its own among them."""
    inner = ",".join(f'"k{number}":"a:b"' for number in range(keys - 3))
    return b'{"event":"wide","timestamp":1775563200,"properties":{' + inner.encode() + b"}}"


def test_what_is_too_long_too_deep_or_too_wide_is_refused_and_what_is_just_not_loads(
    database, reader, run_ingest, tmp_path
):
    lines = [
        padded(LARGEST_RECORD), padded(LARGEST_RECORD + 1), nested(64), nested(65), wide(10_000), wide(10_001),
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 200_000,
    ]  # fmt: skip
    done = run_ingest("load", "--json", write(tmp_path / "events.ndjson", *lines), server=database)
    assert (done.returncode, done.stderr) == (0, f"5 {SEE}")
    result = results(done)["events.ndjson"]
    assert ledger(reader, result) == (8, 3, 5, 3, 5)
    query = "select line_number, event_name from raw.events where load_id = %s order by 1"
    assert reader.execute(query, [result["load_id"]]).fetchall() == [(1, "long"), (3, "deep"), (5, "wide")]
    found = rejects(reader, result)
    assert [(line, field) for line, field, _ in found] == [(2, None), (4, None), (6, None), (7, None), (8, None)]
    # Of a line that is too long only the beginning is kept, of the others all.
    assert found[0][2] == lines[1][: 64 * 1024]
    assert [record for _, _, record in found[1:]] == [lines[3], lines[5], lines[6], lines[7]]


# Text that means something to somebody else

HOSTILE = [
    "'); drop table raw.events; --",
    "\"; delete from raw.loads; select '",
    "$$; truncate raw.rejects; $$",
    "%s %(load_id)s {0} \\copy \\. \\N",
    "<script>alert(1)</script>&amp;",
    "=cmd|' /C calc'!A0",
    "+1+2",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1+1",
    "{{ ref('x') }}{% raw %}",
    "../../etc/passwd",
    "\\x41\\u0041\\",
    "null\r\nnext,line;",
    "\u202eright to left\u2028",
]
TEXT_COLUMNS = {
    "events": ("event_name", "event_category", "session_id", "user_id", "page_title", "user_agent", "city", "plan"),
    "llm_requests": ("request_id", "model", "provider", "error_message", "feedback", "status"),
    "session_batches": ("session_id", "user_id", "app_id"),
}  # fmt: skip


def test_sql_html_and_formulas_are_stored_as_text(database, reader, run_ingest, tmp_path):
    for stream, columns in TEXT_COLUMNS.items():
        lines = []
        for text in HOSTILE:
            told = {**json.loads(GOOD[stream]), **dict.fromkeys(columns, text), text: {text: text}}
            for name in ("event", "sessionId"):
                if {"event": "event_name", "sessionId": "session_id"}[name] in columns:
                    told.pop(name, None)
            lines.append(json.dumps(told).encode())
        write(tmp_path / f"{stream}.ndjson", *lines)
    done = run_ingest("load", "--json", tmp_path, server=database)
    assert (done.returncode, done.stderr) == (0, "")
    for stream, columns in TEXT_COLUMNS.items():
        query = f"select {', '.join(columns)}, properties from raw.{stream} where load_id = %s order by line_number"
        found = reader.execute(query, [results(done)[f"{stream}.ndjson"]["load_id"]]).fetchall()
        assert found == [(*[text] * len(columns), {text: {text: text}}) for text in HOSTILE]


def test_hostile_file_names_and_apps_are_text_too(database, reader, run_ingest, tmp_path):
    name = "events-'; drop table raw.loads; -- [bold]%s.ndjson"
    path = write(tmp_path / name, b'{"event":"named","timestamp":1775563200}', b"bad")
    done = run_ingest("load", "--app", HOSTILE[0], path, server=database)
    assert done.returncode == 0, done.stderr
    query = "select app_id, file from raw.events join raw.loads using (load_id) where event_name = 'named'"
    assert reader.execute(query).fetchall() == [(HOSTILE[0], str(path))]
    assert reader.execute("select count(*) from raw.rejects where file = %s", [str(path)]).fetchone() == (1,)


# Times out of the marts' reach


def test_what_comes_from_the_future_or_before_the_horizon_is_loaded_and_kept_out_of_staging(
    fresh_database, run_ingest, tmp_path
):
    now = int(time.time())
    horizon = now - 90 * 86_400
    # Far enough from both bounds that no clock of this test matters.
    times = {"future": now + 25 * 3600, "skewed": now + 23 * 3600, "kept": horizon + 3600, "closed": horizon - 3600}
    write(tmp_path / "events.ndjson", *(
        json.dumps({"event": name, "timestamp": told}).encode() for name, told in times.items()
    ))  # fmt: skip
    write(tmp_path / "llm_requests.ndjson", *(
        json.dumps({"model": name, "timestamp": told}).encode() for name, told in times.items()
    ))  # fmt: skip
    batch = {"sessionId": "s", "batchId": "c1a7a0de-94b5-4a39-9a34-6f1b1f5e7a10", "pathSequence": ["/"]}
    write(tmp_path / "session_batches.ndjson", *(
        json.dumps({**batch, "startedAt": times[name]}).encode() for name in ("closed", "kept", "future")
    ))  # fmt: skip
    write(
        tmp_path / "costs.ndjson",
        json.dumps({"amount": 1, "timestamp": times["closed"]}).encode(),
        json.dumps({"amount": 1, "timestamp": now, "dnt": True}).encode(),
    )
    done = run_ingest("load", tmp_path, server=fresh_database)
    assert (done.returncode, done.stderr) == (0, "")
    with closing(connect(fresh_database, autocommit=True)) as connection:
        connection.execute("update ops.horizon set horizon = to_timestamp(%s)", [horizon])
        connection.execute("insert into ops.closings (horizon, published_seq) values (to_timestamp(%s), 0)", [horizon])
        connection.execute("insert into ops.bounds (target, completed_seq, to_seq) values ('prod', 4, 4)")
        build_staging(fresh_database, tmp_path)
        for table, column in (("events", "event_name"), ("llm_requests", "model")):
            loaded = connection.execute(f"select {column} from raw.{table} order by 1").fetchall()
            assert [name for (name,) in loaded] == sorted(times)
            seen = connection.execute(f"select {column} from staging.stg_{table} order by 1").fetchall()
            assert [name for (name,) in seen] == ["kept", "skewed"]
        flagged = connection.execute("select stream, line_number, reason from staging.stg_kept_out order by 1, 2")
        assert flagged.fetchall() == [
            # A cost is counted however old it is.
            ("costs", 2, "without consent"),
            ("events", 1, "from the future"),
            ("events", 4, "before the horizon"),
            ("llm_requests", 1, "from the future"),
            ("llm_requests", 4, "before the horizon"),
            ("session_batches", 1, "before the horizon"),
            ("session_batches", 3, "from the future"),
        ]
        counted = connection.execute("""
            select sum(records), count(*),
                min(received_date) = (select min(received_at at time zone 'UTC')::date from raw.events)
            from marts.agg_kept_out
        """)
        assert counted.fetchall() == [(7, 7, True)]


def build_staging(server, folder):
    """The staging views of the streams and the seed they read, by dbt."""
    done = subprocess.run(
        [
            os.path.join(os.path.dirname(sys.executable), "dbt"), "--quiet", "build",
            "--select", "query_parameters", "stg_events", "stg_llm_requests", "stg_kept_out", "agg_kept_out",
            "--exclude-resource-type", "test", "unit_test",
            "--target-path", str(folder / "target"), "--log-path", str(folder / "logs"),
        ],
        env=os.environ | server.environment(), cwd=CHECKOUT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# Odd but sound, and wholly odd, files


def test_odd_files_lose_nothing(database, reader, run_ingest, tmp_path):
    """Each file with how many records load and are refused; none is an error."""
    good = GOOD["events"]
    lines = good + b"\n" + good + b"\n"
    odd = {
        "events-nothing.ndjson": (b"", 0, 0),
        "events-blank.ndjson": (b" \r\n\t\n\n", 0, 0),
        "events-mark.ndjson": (b"\xef\xbb\xbf" + lines, 2, 0),
        "events-mark-only.ndjson": (b"\xef\xbb\xbf", 0, 0),
        "events-crlf.ndjson": (lines.replace(b"\n", b"\r\n"), 2, 0),
        "events-no-end.ndjson": (lines[:-1], 2, 0),
        "events-empty-array.json": (b"[]", 0, 0),
        "events-array-of-arrays.json": (b"[[], [1]]", 0, 2),
        # Read as lines, of which the second is sound.
        "events-array-cut.json": (b"[" + good + b",\n" + good, 1, 1),
        "events-duplicate-keys.ndjson": (good[:-1] + b',"event":"last"}', 1, 0),
        # No UTF-8: line breaks are found, and each line is kept as it came.
        "events-utf16.ndjson": ("\ufeff{}\n{}\n".encode("utf-16-le"), 0, 3),
        # What is inside is no text. It has two line feeds or none, as gzip makes it: counted below.
        "events-twice.ndjson.gz": (gzip.compress(gzip.compress(lines, mtime=0), mtime=0), 0, None),
    }  # fmt: skip
    for name, (content, _, _) in odd.items():
        (tmp_path / name).write_bytes(content)
    done = run_ingest("load", "--json", "--force", tmp_path, server=database)
    assert done.returncode == 0, done.stderr
    assert is_clean(done)
    for name, (content, loaded, rejected) in odd.items():
        if rejected is None:
            rejected = sum(bool(line.strip(b" \t\r\n")) for line in gzip.decompress(content).split(b"\n"))
        assert ledger(reader, results(done)[name]) == (loaded + rejected, loaded, rejected, loaded, rejected), name
    result = results(done)["events-duplicate-keys.ndjson"]
    query = "select event_name from raw.events where load_id = %s"
    # As every JSON reader has it: the last one counts.
    assert reader.execute(query, [result["load_id"]]).fetchall() == [("last",)]


def test_a_folder_with_pipes_and_loops_is_read_past_them(database, run_ingest, tmp_path):
    write(tmp_path / "in" / "events.ndjson", b'{"event":"past a pipe","timestamp":1775563200}')
    os.mkfifo(tmp_path / "in" / "events-pipe.ndjson")
    (tmp_path / "in" / "events-loop.ndjson").symlink_to(tmp_path / "in" / "events-loop.ndjson")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    done = run_ingest("load", "--json", tmp_path / "in", server=database, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(results(done)) == ["events.ndjson"]


def test_a_broken_file_of_any_name_leaves_the_inbox_with_its_reason(database, tmp_path):
    name = "events-\udcff\n.ndjson.gz"
    (tmp_path / name).write_bytes(gzip.compress(b"cut")[:-3])
    with closing(connect(database)) as connection:
        (result,) = ingest_inbox(connection, tmp_path, settle_seconds=0)
    assert result.error == shown_path(result.error)
    assert [path.name for path in (tmp_path / "failed").iterdir() if path.suffix == ".gz"] == [name]
    (reason,) = (tmp_path / "failed").glob("*.reason")
    assert "damaged or cut short" in reason.read_text()
