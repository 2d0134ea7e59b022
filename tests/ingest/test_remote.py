"""Sources beside local paths: standard input, and what fsspec reaches; and that paths of every kind still work."""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import fsspec
import pytest
import zstandard
from fsspec.implementations.memory import MemoryFileSystem

from ingest.commands.load import progress_bar
from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.load import load_paths
from ingest.remote import is_remote, public
from ingest.sources import find_files

CHECKOUT = Path(__file__).resolve().parents[2]


def event(number):
    return {"event_name": "clicked", "user_id": f"u{number}", "timestamp": 1772442000 + number}


LINES = b"".join(json.dumps(event(number)).encode() + b"\n" for number in range(3))
ARRAY = json.dumps([event(number) for number in range(3)]).encode()
PRETTY = json.dumps(event(0), indent=2).encode()
MEMBERS = gzip.compress(LINES[: len(LINES) // 2]) + gzip.compress(LINES[len(LINES) // 2 :])
FRAMES = zstandard.compress(LINES[:40]) + zstandard.compress(LINES[40:])
forms = pytest.mark.parametrize(
    ("content", "suffix", "users"),
    [
        (LINES, ".ndjson", ["u0", "u1", "u2"]),
        (ARRAY, ".json", ["u0", "u1", "u2"]),
        (PRETTY, ".json", ["u0"]),
        (MEMBERS, ".ndjson.gz", ["u0", "u1", "u2"]),
        (FRAMES, ".ndjson.zst", ["u0", "u1", "u2"]),
        (gzip.compress(ARRAY), ".json.gz", ["u0", "u1", "u2"]),
        (zstandard.compress(PRETTY), ".json.zst", ["u0"]),
    ],
    ids=["lines", "array", "pretty", "gzip-members", "zstd-frames", "array-gzip", "pretty-zstd"],
)


@pytest.fixture(scope="module")
def loader(database):
    with connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture(autouse=True)
def emptied(loader):
    """Each test loads the same few bytes as the others."""
    yield
    loader.execute("truncate raw.loads, raw.rejects, raw.events, raw.llm_requests cascade")
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def spools(tmp_path, monkeypatch):
    """Where temporary files go; whatever happens, none may stay."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def memory(name, content):
    fsspec.filesystem("memory").pipe_file(name, content)
    return f"memory://{name}"


def users(loader):
    rows = loader.execute("select user_id from raw.events order by load_id, line_number").fetchall()
    return [user for (user,) in rows]


def ledger(loader):
    return loader.execute("select stream, file, bytes, checksum from raw.loads order by load_id").fetchall()


# Standard input


@forms
def test_every_form_arrives_through_standard_input(loader, database, run_ingest, content, suffix, users):
    told = run_ingest("load", "-", "--stream", "events", "--json", server=database, input=content, text=False)
    assert told.returncode == 0, told.stderr
    result = json.loads(told.stdout)
    assert (result["file"], result["status"], result["loaded"]) == ("stdin", "loaded", len(users))
    ((stream, file, size, _),) = ledger(loader)
    assert (stream, file, size) == ("events", "stdin", len(content))


def test_standard_input_needs_a_stream_and_is_like_any_file(loader, database, run_ingest, tmp_path):
    told = run_ingest("load", "-", server=database, input="{}")
    assert told.returncode == 2
    assert "--stream" in told.stderr
    (tmp_path / "x.ndjson").write_bytes(LINES)
    first = run_ingest("load", tmp_path / "x.ndjson", "--stream", "events", server=database)
    again = run_ingest("load", "-", "--stream", "events", server=database, input=LINES, text=False)
    assert (first.returncode, again.returncode) == (0, 0)
    assert b"already loaded" in again.stdout
    assert len(ledger(loader)) == 1
    half = gzip.compress(LINES)[:-6]
    cut = run_ingest("load", "-", "--stream", "events", server=database, input=half, text=False)
    assert cut.returncode == 2
    assert cut.stderr.startswith(b"Error: stdin: damaged or cut short")
    assert len(ledger(loader)) == 1


def test_a_closed_standard_input_says_so(database, run_ingest):
    told = subprocess.run(
        ["bash", "-c", 'exec "$0" -m ingest load - --stream events <&-', sys.executable],
        cwd=CHECKOUT, env=os.environ | database.environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 2
    assert told.stderr.splitlines() == ["Error: stdin: is closed; pipe something in or name a file"]


# URLs


@forms
def test_every_form_arrives_through_fsspec(loader, spools, tmp_path, content, suffix, users):
    url = memory(f"/shop/events{suffix}", content)
    (tmp_path / f"events{suffix}").write_bytes(content)
    (result, same) = load_paths(loader, [url, f"file://{tmp_path}/events{suffix}"])
    assert (result.status, result.loaded, result.file) == ("loaded", len(users), url)
    assert same.status == "already loaded"
    assert [row[:3] for row in ledger(loader)] == [("events", url, len(content))]


def test_folders_and_patterns_at_a_url_mean_what_they_mean_here(loader, spools, tmp_path):
    root = tmp_path / "exports [1] with spaces"
    names = ["events/a.ndjson", "events/2026/b.ndjson.gz", "llm-requests.json", "other.json", ".hidden/events.ndjson",
             "events.txt"]  # fmt: skip
    for place, name in enumerate(names):
        content = gzip.compress(LINES) if name.endswith(".gz") else json.dumps(event(place)).encode()
        memory(f"/bucket/{name}", content)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    expected = ["events/2026/b.ndjson.gz", "events/a.ndjson", "llm-requests.json", "other.json"]
    for folder in ("memory://bucket", "memory://bucket/", f"file://{root}", str(root)):
        found = find_files([folder])
        shown = [(item.label or str(item.path)).partition("bucket/" if "bucket" in folder else f"{root}/")[2]
                 for item in found]  # fmt: skip
        assert shown == expected
    pattern = [item.label for item in find_files(["memory://bucket/events/**/*.ndjson*"])]
    assert sorted(pattern) == ["memory:///bucket/events/2026/b.ndjson.gz", "memory:///bucket/events/a.ndjson"]
    statuses = {result.file: (result.status, result.stream) for result in load_paths(loader, ["memory://bucket"])}
    assert statuses == {
        "memory:///bucket/events/2026/b.ndjson.gz": ("loaded", "events"),
        "memory:///bucket/events/a.ndjson": ("loaded", "events"),
        "memory:///bucket/llm-requests.json": ("loaded", "llm_requests"),
        "memory:///bucket/other.json": ("left alone", ""),
    }


def test_the_stream_is_told_by_the_urls_names_not_the_copys(loader, tmp_path, monkeypatch):
    misleading = tmp_path / "llm_requests"
    misleading.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(misleading))
    (result,) = load_paths(loader, [memory("/shop/events/part-1.ndjson", LINES)])
    assert (result.status, result.stream) == ("loaded", "events")
    (result,) = load_paths(loader, [memory("/shop/part-1.ndjson", LINES)])
    assert result.status == "failed"
    assert result.error.startswith("memory:///shop/part-1.ndjson: which stream is it?")


def test_what_is_named_twice_is_found_once():
    url = memory("/shop/events.ndjson", LINES)
    assert [found.label for found in find_files([url, "-", url, "-"])] == [url, "stdin"]


def test_rejects_name_the_url(loader, spools):
    url = memory("/shop/events.ndjson", LINES + b"{broken\n")
    (result,) = load_paths(loader, [url])
    assert (result.loaded, result.rejected) == (3, 1)
    assert loader.execute("select file, line_number from raw.rejects").fetchall() == [(url, 4)]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("memory://nowhere/events.ndjson", "memory://nowhere/events.ndjson: no such file"),
        ("nosuch://bucket/events.ndjson", "nosuch://bucket/events.ndjson: cannot be looked at: "),
        ("memory://nowhere/*.ndjson", "memory://nowhere/*.ndjson: no file matches this pattern"),
    ],
)
def test_what_is_not_there_is_one_line(database, run_ingest, given, reason):
    told = run_ingest("load", given, server=database)
    assert told.returncode == 2
    (line,) = told.stderr.splitlines()
    assert line.startswith(f"Error: {reason}")


def test_a_folder_without_data_says_so(loader):
    memory("/empty/readme.txt", b"x")
    with pytest.raises(TidemarkError, match="memory://empty: no data files"):
        find_files(["memory://empty"])


class Unreliable(MemoryFileSystem):
    """The memory file system over a connection that breaks, or that ends early without a word."""

    protocol = "unreliable"
    how = "breaks"
    store = MemoryFileSystem.store
    pseudo_dirs = MemoryFileSystem.pseudo_dirs

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("unreliable://", "memory://"))

    def _open(self, path, mode="rb", **options):
        file = super()._open(path, mode, **options)
        return Broken(file, self.how)


class Broken:
    def __init__(self, file, how):
        self.file, self.how, self.size = file, how, file.size

    def read(self, size):
        if self.file.tell():
            if self.how == "breaks":
                raise ConnectionResetError(104, "Connection reset by peer")
            return b""
        return self.file.read(7)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


fsspec.register_implementation("unreliable", Unreliable, clobber=True)


@pytest.mark.parametrize(
    ("how", "reason"), [("breaks", "Connection reset by peer; try again"), ("ends", f"7 of its {len(LINES)} bytes")]
)
def test_a_dropped_connection_loads_nothing_and_the_next_try_all(loader, spools, monkeypatch, how, reason):
    url = memory("/shop/events.ndjson", LINES)
    monkeypatch.setattr(Unreliable, "how", how)
    (result, other) = load_paths(loader, ["unreliable://shop/events.ndjson", memory("/shop/events-2.ndjson", PRETTY)])
    assert (result.status, other.status) == ("failed", "loaded")
    assert result.error.startswith("unreliable://shop/events.ndjson: nothing of it is loaded")
    assert reason in result.error
    assert users(loader) == ["u0"]
    (again,) = load_paths(loader, [url])
    assert again.loaded == 3


def test_a_damaged_archive_is_named_by_its_url(loader, spools):
    (result,) = load_paths(loader, [memory("/shop/events.ndjson.gz", gzip.compress(LINES)[:-6])])
    assert result.error.startswith("memory:///shop/events.ndjson.gz: damaged or cut short")
    assert users(loader) == []


def test_no_room_for_the_copy_says_what_to_do(loader, monkeypatch, tmp_path):
    """/dev/full takes nothing, as a full disk."""
    url = memory("/shop/events.ndjson", LINES)
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r": real(Path("/dev/full"), "wb") if mode == "xb" else real(path, mode)
    )
    (result,) = load_paths(loader, [url])
    assert "No space left on device; make room or set TMPDIR" in result.error
    assert users(loader) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/events.ndjson", "s3://bucket/events.ndjson"),
        ("s3://KEY:SECRET@bucket/events.ndjson", "s3://bucket/events.ndjson"),
        ("s3://KEY:SEC/RET+X@bucket/a.ndjson", "s3://bucket/a.ndjson"),
        ("https://user:pass@host:8080/a.ndjson", "https://host:8080/a.ndjson"),
        ("https://host:8080/a@b.ndjson", "https://host:8080/a@b.ndjson"),
        ("s3://bucket/a@b.ndjson", "s3://bucket/a@b.ndjson"),
        ("https://host/a.ndjson?X-Amz-Credential=AKIA&X-Amz-Signature=f00", "https://host/a.ndjson"),
        ("simplecache::s3://KEY:SECRET@bucket/a.ndjson", "simplecache::s3://bucket/a.ndjson"),
        ("s3://bucket/events-?.ndjson", "s3://bucket/events-?.ndjson"),
        ("failed for https://u:p@h/x?sig=1 and s3://k:s@b/y", "failed for https://h/x and s3://b/y"),
    ],
)
def test_no_credentials_are_shown(url, shown):
    assert public(url) == shown


def test_the_ledger_keeps_no_credentials(loader, spools):
    memory("/shop/events.ndjson", LINES)
    (result,) = load_paths(loader, ["memory://key:secret@shop/events.ndjson"])
    stored = repr(ledger(loader)) + repr(result)
    assert "secret" not in stored


def test_without_fsspec_a_url_says_what_to_install(tmp_path, database):
    program = (
        "import sys; sys.modules['fsspec'] = None; sys.argv = ['ingest', 'load', sys.argv[1]]\n"
        "from ingest.cli import main; main()"
    )
    environment = os.environ | database.environment()
    told = subprocess.run(
        [sys.executable, "-c", program, "s3://key:secret@bucket/events.ndjson"],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 2
    assert told.stderr == "Error: s3://bucket/events.ndjson: URLs need fsspec: pip install 'tidemark[remote]'\n"
    path = tmp_path / "events.ndjson"
    path.write_bytes(LINES)
    told = subprocess.run(
        [sys.executable, "-c", program, path], cwd=CHECKOUT, env=environment, capture_output=True, timeout=120
    )
    assert told.returncode == 0


def test_a_store_whose_package_is_missing_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(TidemarkError, match=r"^s3://bucket/a\.ndjson: .*s3fs"):
        find_files(["s3://key:secret@bucket/a.ndjson"])


# Local paths as before


@pytest.mark.parametrize("name", ["a b.ndjson", "[a].ndjson", "a*b.ndjson", "a?b.ndjson", "-.ndjson", "s3:x.ndjson"])
def test_local_names_that_look_like_something_else_are_names(tmp_path, monkeypatch, name):
    folder = tmp_path / "events [2]"
    folder.mkdir()
    (folder / name).write_bytes(LINES)
    monkeypatch.chdir(folder)
    for given in (name, f"./{name}", str(folder / name), folder, folder / name):
        assert [found.path.resolve() for found in find_files([given])] == [folder / name]
    assert not is_remote(name)


def test_two_stars_reach_every_depth(tmp_path):
    for name in ("events.ndjson", "x/events.ndjson", "x/y/events.ndjson"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(LINES)
    assert len(find_files([f"{tmp_path}/**/*.ndjson"])) == 3


@pytest.mark.parametrize("given", [["local"], ["local", "remote"], ["remote"]])
def test_the_progress_bar_knows_only_what_it_can(tmp_path, monkeypatch, given):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    path = tmp_path / "events.ndjson"
    path.write_bytes(LINES)
    paths = {"local": path, "remote": memory("/shop/events.ndjson", LINES)}
    files = find_files([paths[kind] for kind in given])
    bar = progress_bar(files)
    assert bar.total == (2 * len(LINES) if given == ["local"] else None)
    with bar as advance:
        advance(files[0].path, 10)
