"""The inbox: a folder whose files are loaded and then moved to `done/`, or to `failed/` with the reason.

A file is moved only after its load has committed, so a run killed in between finds it again, is told that it
is loaded already, and moves it then. Nothing is ever deleted or overwritten.

Producers write under a hidden name, or one that ends in `.part` or `.tmp`, and rename when they are done. A
file that changes while it is looked at or loaded is left for the next run all the same.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

from ingest.errors import TidemarkError
from ingest.files import SUFFIXES, BrokenFileError, ChangedFileError, bare_suffix, stream_of, unknown_stream
from ingest.forgetting import Mentions, forget_in_file
from ingest.load import FAILED, LoadResult, load_file, shown_path
from ingest.server import home_folder

DONE, BROKEN = "done", "failed"
UNFINISHED = (".part", ".tmp", ".partial", ".crdownload", ".filepart")
LOCK = ".lock"
# A file untouched for this long is taken to be complete.
SETTLE_SECONDS = 1.0

Identity = tuple[int, int, int, int]


def inbox_folder() -> Path:
    """Where the inbox is: TIDEMARK_INBOX, else `inbox` in the project's home folder (`.tidemark`)."""
    told = os.environ.get("TIDEMARK_INBOX")
    return Path(told) if told else home_folder() / "inbox"


def ingest_inbox(
    connection: psycopg.Connection,
    inbox: Path | None = None,
    *,
    settle_seconds: float = SETTLE_SECONDS,
    loaded_by: str | None = None,
    report: Callable[[LoadResult], None] | None = None,
) -> list[LoadResult]:
    """Loads what lies in the inbox, in order of name, and moves it away; one result per file.

    `done/` and `failed/` keep the folders that files lay in. Files that may still be written stay. A second run
    at the same time waits for the first. TidemarkError when the folder cannot be used, or the warehouse takes no
    file: then everything stays where it is.
    """
    inbox = inbox or inbox_folder()
    results = []
    with locked(inbox):
        for path, before in settled(inbox, settle_seconds):
            result = take(connection, inbox, path, before, loaded_by)
            if result is None:
                continue
            results.append(result)
            if report:
                report(result)
    return results


def take(
    connection: psycopg.Connection, inbox: Path, path: Path, before: "Identity", loaded_by: str | None
) -> LoadResult | None:
    """Loads one file and moves it; None when it is gone or still being written."""
    inside = path.relative_to(inbox)
    try:
        # Only names inside the inbox count: where the inbox itself lies says nothing.
        stream = stream_of(inside)
        if stream is None:
            raise BrokenFileError(str(unknown_stream(inside)))
        result = load_file(connection, path, stream=stream, loaded_by=loaded_by)
    except ChangedFileError:
        return None
    except BrokenFileError as error:
        if identity(path) is None:
            return None
        result = LoadResult(shown_path(path), stream or "", FAILED, error=shown_path(str(error)))
    if result.status == FAILED:
        moved = move(path, inbox / BROKEN / inside, before)
        if moved:
            write_reason(moved, result.error)
    else:
        moved = move(path, inbox / DONE / inside, before)
        if moved and result.erased_ids:
            forget_in_file(moved, Mentions(result.erased_ids))
    return result


def settled(inbox: Path, settle_seconds: float) -> Iterator[tuple[Path, "Identity"]]:
    """The inbox's complete files in order of name, each with its identity."""
    seen = {path: identity(path) for path in waiting(inbox)}
    now = time.time_ns()
    young = [one[3] for one in seen.values() if one and now - one[3] < settle_seconds * 1e9]
    if young:
        time.sleep(settle_seconds)
    for path in sorted(seen):
        before = seen[path]
        if before is not None and identity(path) == before:
            yield path, before


def waiting(inbox: Path) -> Iterator[Path]:
    """Data files in the inbox, not those in `done/` and `failed/`, nor hidden or unfinished ones."""
    for folder, folders, names in os.walk(inbox):
        here = Path(folder)
        hidden = (DONE, BROKEN) if here == inbox else ()
        folders[:] = [name for name in folders if not name.startswith(".") and name not in hidden]
        for name in names:
            if name.startswith(".") or name.lower().endswith(UNFINISHED):
                continue
            if bare_suffix(here / name) in SUFFIXES:
                yield here / name


def identity(path: Path) -> "Identity | None":
    """What tells one state of one file from another; None when it is not there or no plain file."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    if not os.path.isfile(path):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def move(path: Path, target: Path, before: "Identity") -> Path | None:
    """Moves a file to a name that is free, `target` or with a number, and says which. None, and the file stays
    in the inbox, when it is no longer the file that was loaded."""
    if identity(path) != before:
        return None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Nobody else writes there: the inbox is locked. A name reserved with an empty file would stay behind when
        # the run is killed in between.
        free = next(name for name in numbered(target) if not os.path.lexists(name))
        os.replace(path, free)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TidemarkError(
            f"{path}: is loaded but cannot be moved to {target.parent}: {error.strerror}; mend that and run again"
        ) from None
    if identity(free) == before:
        return free
    # Written to, or another file put in its place, in the instant before: it goes back for the next run.
    back = reserve(path) if identity(path) is None else reserve(path.with_name("again-" + path.name))
    os.replace(free, back)
    return None


def reserve(target: Path) -> Path:
    """An empty file of that name, or with a number before the suffixes if the name is taken."""
    for free in numbered(target):
        try:
            os.close(os.open(free, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            continue
        return free
    raise AssertionError("numbers do not end")


def numbered(target: Path) -> Iterator[Path]:
    """The name itself, then the name with 1, 2, 3 … before its suffixes."""
    suffixes = "".join(target.suffixes[-2:])
    stem = target.name.removesuffix(suffixes)
    yield target
    for number in count(1):
        yield target.with_name(f"{stem}.{number}{suffixes}")


def write_reason(moved: Path, reason: str | None) -> None:
    """Says beside a failed file why it failed."""
    reserve(moved.with_name(moved.name + ".reason")).write_text(f"{reason}\n", encoding="utf-8")


@contextmanager
def locked(inbox: Path) -> Iterator[None]:
    """Holds the inbox for one run at a time, making it if it is missing."""
    try:
        inbox.mkdir(parents=True, exist_ok=True)
        file = os.open(inbox / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = "no folder" if error.errno in (errno.EEXIST, errno.ENOTDIR) else error.strerror
        raise TidemarkError(f"the inbox {inbox} cannot be used: {reason}; set TIDEMARK_INBOX") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
