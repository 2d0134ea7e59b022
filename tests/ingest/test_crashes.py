"""Killed processes, killed servers, full disks, and loads side by side: each file is wholly in or wholly out."""

import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ingest import server as embedded
from ingest.connection import connect, embedded_server
from ingest.errors import TidemarkError
from ingest.load import load_file, load_paths
from ingest.migrate import migrate
from ingest.reading import checksum
from tests.conftest import CHECKOUT, HOME_PREFIX, HOMES, create_database, drop_database, remove_home

EVENTS_IN_FILE, BAD_IN_FILE = 600, 2
FILES = 3


def write_events(path, label, events=EVENTS_IN_FILE, bad=BAD_IN_FILE, pad=""):
    """A file of sound events and of lines that are refused, unlike any other by its label."""
    lines = [
        json.dumps({"event": label, "user_id": f"u{number}", "timestamp": 1775563200 + number, "pad": pad})
        for number in range(events)
    ]
    path.write_text("\n".join([*lines, *[f"bad {label} {number}" for number in range(bad)]]) + "\n")
    return path


def write_files(folder, label, files=FILES):
    folder.mkdir()
    return [write_events(folder / f"events-{number}.ndjson", f"{label}.{number}") for number in range(files)]


def check_whole_or_out(connection, paths):
    """How many of the files are in; each is there with all it holds and its counts, or nothing is there of it."""
    query = """
        select file, records, loaded, rejected, published_seq is not null and finished_at is not null,
            (select count(*) from raw.events where load_id = loads.load_id),
            (select count(*) from raw.rejects where load_id = loads.load_id)
        from raw.loads where file = any(%s)
    """
    found = connection.execute(query, [[str(path) for path in paths]]).fetchall()
    whole = (EVENTS_IN_FILE + BAD_IN_FILE, EVENTS_IN_FILE, BAD_IN_FILE, True, EVENTS_IN_FILE, BAD_IN_FILE)
    assert [row[1:] for row in found] == [whole] * len(found)
    assert len({row[0] for row in found}) == len(found)
    orphans = """
        select (select count(*) from raw.events where load_id not in (select load_id from raw.loads)),
            (select count(*) from raw.rejects where load_id not in (select load_id from raw.loads))
    """
    assert connection.execute(orphans).fetchone() == (0, 0)
    return len(found)


def wait_until_alone(connection):
    """Returns when no other session is left in this database: what a dead client left is decided then."""
    query = """
        select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
    """
    wait_for(lambda: connection.execute(query).fetchone() == (0,), "a dead client's session to end")


def wait_for(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def forked(work, *arguments):
    """A process of its own that does the work, started in a moment: nothing is imported anew."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def load_all(server, paths):
    with connect(server) as connection:
        load_paths(connection, paths)


def load_all_until(server, paths, calls):
    """Loads the files and dies at so many calls of functions, Python's or C's, counted from the connection on."""
    counter = iter(range(calls))

    def count(frame, event, argument):
        if event in ("call", "c_call") and next(counter, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    with connect(server) as connection:
        sys.setprofile(count)
        load_paths(connection, paths)
        sys.setprofile(None)


def count_calls(server, paths):
    """How many calls loading the files takes, and how many it had taken when the first one was in."""
    calls = 0
    when_in = []

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    with connect(server) as connection:
        sys.setprofile(count)
        load_paths(connection, paths, report=lambda result: when_in.append(calls))
        sys.setprofile(None)
    return calls, when_in[0]


def finish(server, connection, paths):
    """A run after the crash: every file is in, once."""
    with connect(server) as again:
        results = load_paths(again, paths)
    assert {result.status for result in results} <= {"loaded", "already loaded"}
    assert check_whole_or_out(connection, paths) == len(paths)


# The process killed


def test_a_load_killed_at_any_instant_is_wholly_in_or_wholly_out(fresh_database, tmp_path):
    """50 instants drawn at random from the time a load takes, one in each fiftieth of it."""
    chance = random.Random(50)
    with connect(fresh_database, autocommit=True) as connection:
        paths = write_files(tmp_path / "measured", "measured")
        began = time.monotonic()
        with forked(load_all, fresh_database, paths) as loading:
            loading.join(60)
        duration = time.monotonic() - began
        assert loading.exitcode == 0
        assert check_whole_or_out(connection, paths) == FILES
        for kill in range(50):
            paths = write_files(tmp_path / f"{kill}", f"killed {kill}")
            with forked(load_all, fresh_database, paths) as loading:
                loading.join(duration * (kill + chance.random()) / 50)
                loading.kill()
            wait_until_alone(connection)
            check_whole_or_out(connection, paths)
            finish(fresh_database, connection, paths)


def test_a_load_that_dies_at_any_call_is_wholly_in_or_wholly_out(fresh_database, tmp_path):
    """The same without a clock: the load dies at a call drawn at random, one in each twelfth of all calls, and at
    every fourth of the last hundred calls before the first file is reported as loaded."""
    chance = random.Random(12)
    with connect(fresh_database, autocommit=True) as connection:
        # The second time, when all that is kept for later use is there, as it will be in the processes forked.
        count_calls(fresh_database, write_files(tmp_path / "first", "first"))
        calls, first_in = count_calls(fresh_database, write_files(tmp_path / "measured", "measured"))
        instants = [int(calls * (part + chance.random()) / 12) for part in range(12)]
        files_in = Counter()
        for instant in [*instants, *range(first_in - 100, first_in, 4)]:
            paths = write_files(tmp_path / f"{instant}", f"died at {instant}")
            with forked(load_all_until, fresh_database, paths, instant) as loading:
                loading.join(60)
            assert loading.exitcode in (-signal.SIGKILL, 0)
            wait_until_alone(connection)
            files_in[check_whole_or_out(connection, paths)] += 1
            finish(fresh_database, connection, paths)
    # The instants were spread: some before the first commit, some between any two.
    assert set(range(FILES)) <= set(files_in)


# The server killed


@pytest.fixture(scope="module")
def own_server():
    """A server that may be killed: its home, started and migrated."""
    folder = Path(tempfile.mkdtemp(prefix=HOME_PREFIX, dir=HOMES))
    folder.chmod(0o755)
    (folder / "pid").write_text(str(os.getpid()))
    home = folder / "home"
    try:
        with connect(embedded_server(embedded.start(home), "postgres"), autocommit=True) as connection:
            connection.execute("create database tidemark")
        with connect(embedded_server(embedded.running(home), "tidemark")) as connection:
            migrate(connection)
        yield home
    finally:
        remove_home(folder)


def kill_server(home):
    """The server is gone at once, as in a crash: nothing is rolled back, the next start recovers."""
    pid = embedded.running(home).pid
    os.kill(pid, signal.SIGQUIT)
    wait_for(lambda: embedded.running(home) is None, "the server to die")


def own_environment(home):
    """Only the home names the server."""
    return {"TIDEMARK_HOME": str(home)} | {name: None for name in os.environ if name.startswith("PG")}


# Where the load stands still until the server dies: the statement that holds it there.
HELD = {
    "at the ledger": "insert into raw.loads (stream, file, checksum, bytes) values ('events', 'x', {checksum}, 1)",
    "between rows and rejects": "lock table raw.rejects in access exclusive mode",
    "before the commit": "select pg_advisory_xact_lock(hashtext('tidemark.publish'))",
}


@pytest.mark.parametrize("moment", HELD)
def test_a_server_killed_during_a_load_is_one_line_and_the_next_run_finishes(own_server, run_ingest, tmp_path, moment):
    path = write_events(tmp_path / "events.ndjson", f"server killed {moment}")
    digest = sql.Literal(checksum(path)[0])
    server = embedded_server(embedded.start(own_server), "tidemark")
    variables = {**os.environ, **own_environment(own_server)}
    with contextlib.closing(connect(server)) as holder, contextlib.closing(connect(server, autocommit=True)) as reader:
        holder.execute(sql.SQL(HELD[moment]).format(checksum=digest))
        loading = subprocess.Popen(
            [sys.executable, "-m", "ingest", "load", str(path)],
            env={name: value for name, value in variables.items() if value is not None},
            cwd=CHECKOUT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        wait_for(lambda: reader.execute(waiting).fetchone() == (1,), "the load to be held")
        kill_server(own_server)
        _, said = loading.communicate(timeout=60)
    assert loading.returncode == 2
    assert len(said.splitlines()) == 1
    assert said.startswith(f"Error: {path}: nothing of it is loaded, ")
    # The next run starts the server itself.
    again = run_ingest("load", "--json", path, environment=own_environment(own_server))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["status"] == "loaded"
    with connect(embedded_server(embedded.running(own_server), "tidemark"), autocommit=True) as connection:
        assert check_whole_or_out(connection, [path]) == 1


def test_a_server_killed_in_the_midst_of_the_rows_leaves_nothing_of_the_file(own_server, tmp_path):
    first = write_events(tmp_path / "events-1.ndjson", "before the server died")
    second = write_events(tmp_path / "events-2.ndjson", "as the server died", events=20_000)
    third = write_events(tmp_path / "events-3.ndjson", "after the server died")
    server = embedded_server(embedded.start(own_server), "tidemark")
    read = Counter()

    def kill_in_the_middle(path, size):
        read[path] += size
        # Every byte is read twice: this is in the second reading's middle.
        if path == second and read[path] > 1.5 * second.stat().st_size and embedded.running(own_server):
            kill_server(own_server)

    heard = []
    with contextlib.closing(connect(server)) as connection, pytest.raises(TidemarkError) as error:
        load_paths(connection, [first, second, third], progress=kill_in_the_middle, report=heard.append)
    assert [result.status for result in heard] == ["loaded"]
    assert str(second) in str(error.value)
    assert "\n" not in str(error.value)
    server = embedded_server(embedded.start(own_server), "tidemark")
    with connect(server, autocommit=True) as connection:
        assert check_whole_or_out(connection, [first, third]) == 1
        assert connection.execute("select count(*) from raw.loads where file = %s", [str(second)]).fetchone() == (0,)
        with connect(server) as loader:
            statuses = [result.status for result in load_paths(loader, [first, second, third])]
        assert statuses == ["already loaded", "loaded", "loaded"]
        assert check_whole_or_out(connection, [first, third]) == 2
        query = "select count(*) from raw.events where event_name = 'as the server died'"
        assert connection.execute(query).fetchone() == (20_000,)


# Disks that are full


@pytest.fixture
def tiny_disk(server):
    """A file system of 16 MB that the server may use, and a function that makes it larger."""
    if not server.embedded or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system for the embedded server")
    folder = Path(tempfile.mkdtemp(prefix=HOME_PREFIX, dir=HOMES))
    folder.chmod(0o755)
    disk = folder / "disk"
    disk.mkdir()
    owner = embedded.data_folder().stat()
    options = f"size=16m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(folder)
        pytest.skip("this machine does not allow mounting a file system")
    try:
        yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=128m", disk], check=True)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_full_disk_of_the_server_leaves_the_file_out_until_there_is_room(server, tiny_disk, run_ingest, tmp_path):
    disk, make_room = tiny_disk
    name = f"tidemark_test_full_{os.getpid()}"
    database = create_database(server, name)
    with connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("create tablespace {} location {}").format(sql.Identifier(name), str(disk)))
    try:
        with connect(database) as connection:
            migrate(connection)
            for kind in ("table", "index"):
                move = sql.SQL(f"alter {kind} all in tablespace pg_default set tablespace {{}}")
                connection.execute(move.format(sql.Identifier(name)))
        small = write_events(tmp_path / "events-1.ndjson", "small")
        large = write_events(tmp_path / "events-2.ndjson", "large", events=20_000, pad="x" * 1000)
        last = write_events(tmp_path / "events-3.ndjson", "last")
        done = run_ingest("load", "--json", small, large, last, server=database)
        assert done.returncode == 2
        assert [line for line in done.stderr.splitlines() if "rejected" not in line] == [
            f"Error: {large}: nothing of it is loaded, the server's disk is full: make room"
        ]
        statuses = [json.loads(line)["status"] for line in done.stdout.splitlines()]
        assert statuses == ["loaded", "failed", "loaded"]
        with connect(database, autocommit=True) as connection:
            assert check_whole_or_out(connection, [small, last]) == 2
            assert connection.execute("select count(*) from raw.loads").fetchone() == (2,)
        make_room()
        again = run_ingest("load", "--json", small, large, last, server=database)
        assert again.returncode == 0, again.stderr
        statuses = [json.loads(line)["status"] for line in again.stdout.splitlines()]
        assert statuses == ["already loaded", "loaded", "already loaded"]
        with connect(database, autocommit=True) as connection:
            query = "select count(*) from raw.events where event_name = 'large'"
            assert connection.execute(query).fetchone() == (20_000,)
    finally:
        drop_database(server, name)
        with connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("drop tablespace {}").format(sql.Identifier(name)))


def test_a_full_disk_of_the_loader_is_one_line_and_nothing_is_loaded(fresh_database, run_ingest, tmp_path):
    """Rejects wait on disk when they are many: here no file may grow beyond 1 MB."""
    path = write_events(tmp_path / "events-1.ndjson", "good", bad=0)
    with path.open("a") as file:
        file.writelines(f"bad {'x' * 1000} {number}\n" for number in range(6000))
    other = write_events(tmp_path / "events-2.ndjson", "other")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = run_ingest("load", "--json", path, other, server=fresh_database, preexec_fn=limit)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert "TMPDIR" in errors[0]
    assert "Traceback" not in done.stderr
    with connect(fresh_database, autocommit=True) as connection:
        assert check_whole_or_out(connection, [other]) == 1
        assert connection.execute("select count(*) from raw.loads").fetchone() == (1,)
        result = load_file(connection, path)
        assert (result.loaded, result.rejected) == (EVENTS_IN_FILE, 6000)


# Side by side

PROCESSES, FILES_EACH = 8, 6


def load_when_told(server, paths, start):
    with connect(server) as connection:
        start.wait()
        load_paths(connection, paths)


def test_eight_loads_side_by_side_publish_in_the_order_of_their_commits(fresh_database, tmp_path):
    """Whoever has seen a number has seen every smaller one that will ever be seen."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(PROCESSES + 1)
    mine = [write_files(tmp_path / f"{number}", f"process {number}", FILES_EACH) for number in range(PROCESSES)]
    # One file's content, under a name of its own in each process's list.
    for number, paths in enumerate(mine):
        paths.insert(2, write_events(tmp_path / f"{number}" / "events-same.ndjson", "the same"))
    snapshots = []
    with contextlib.ExitStack() as stack:
        # Processes first: none of them may inherit the reader's connection.
        loading = [stack.enter_context(forked(load_when_told, fresh_database, paths, start)) for paths in mine]
        reader = stack.enter_context(connect(fresh_database))
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        start.wait(60)
        while not snapshots or any(process.is_alive() for process in loading):
            snapshots.append(published(reader))
        assert [process.exitcode for process in loading] == [0] * PROCESSES
        snapshots.append(published(reader))
        for earlier, later in pairwise(snapshots):
            assert earlier <= later
            assert not earlier or all(number > max(earlier) for number in later - earlier)
        assert len(snapshots[-1]) == PROCESSES * FILES_EACH + 1
        paths = [path for paths in mine for path in paths]
        assert check_whole_or_out(reader, paths) == PROCESSES * FILES_EACH + 1
        once = "select count(*), count(distinct (event_name, user_id)) from raw.events"
        assert reader.execute(once).fetchone() == ((PROCESSES * FILES_EACH + 1) * EVENTS_IN_FILE,) * 2


def published(reader):
    """The numbers visible in one snapshot."""
    with reader.transaction():
        found = reader.execute("select published_seq from raw.loads where published_seq is not null").fetchall()
    return {number for (number,) in found}
