"""Sources that are no local files: standard input, and object stores and file systems that fsspec knows.

Each is copied to a temporary file first, since a load reads a file twice: for the checksum, then for the records. The
ledger and every message call it by its URL without credentials, or `stdin`.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ingest.errors import TidemarkError
from ingest.files import SUFFIXES, BrokenFileError, Found, is_data, shown_reason

STDIN = "-"
# Bytes copied at a time.
CHUNK = 1024 * 1024
# Also `simplecache::s3://…`.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")
# A pre-signed URL's signature, a token.
QUERY = re.compile(r"\?[^?\s/]*=\S*")
CREDENTIALS = re.compile(r"://(?:[^/\s@]*@|[^/\s@:]*:(?!\d*(?:/|$))\S*@)")
# These have no folders: listing one would fetch a page and follow its links.
PAGES = ("http", "https")


def is_remote(given: str | os.PathLike[str]) -> bool:
    """Whether a path is standard input or a URL."""
    return isinstance(given, str) and (given == STDIN or URL.match(given) is not None)


def find_remote(given: str) -> list[Found]:
    """The files that `-`, or the URL of a file, a folder or a glob pattern, means; nothing is read of them yet.

    TidemarkError when there are none, fsspec is not installed, or the store does not answer.
    """
    if given == STDIN:
        return [Found(Path("stdin"), in_folder=False, label="stdin", spooled=spooled_stdin)]
    label = public(given)
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise TidemarkError(f"{label}: URLs need fsspec: pip install 'tidemark[remote]'") from None
    try:
        system, path = url_to_fs(given)
        return files_at(system, path, label)
    except ImportError as error:
        # The file system's own package, which the message names.
        raise TidemarkError(f"{label}: {public(shown_reason(error))}; mend that and try again") from None
    except TidemarkError:
        raise
    except Exception as error:
        raise TidemarkError(
            f"{label}: cannot be looked at: {public(shown_reason(error))}; mend that and try again"
        ) from None


def files_at(system: Any, path: str, label: str) -> list[Found]:
    """The files of a file system's path, whose URL is `label`."""
    # What an earlier call in this process saw may be old.
    system.invalidate_cache()
    if set(PAGES) & protocols(system) or system.isfile(path):
        return [remote_file(system, path, label, in_folder=False)]
    if system.isdir(path):
        inside = [name for name in sorted(system.find(path)) if is_data(PurePosixPath(name), PurePosixPath(path))]
        if not inside:
            raise TidemarkError(
                f"{label}: no data files in this folder: put some there; they end in {', '.join(SUFFIXES)}"
            )
    elif has_magic(path):
        inside = sorted(name for name in system.glob(path) if system.isfile(name))
        if not inside:
            raise TidemarkError(f"{label}: no file matches this pattern; quote it, and see what lies there")
    else:
        # If it is not there, that is said when its turn comes.
        return [remote_file(system, path, label, in_folder=False)]
    return [remote_file(system, name, public(system.unstrip_protocol(name)), in_folder=True) for name in inside]


def protocols(system: Any) -> set[str]:
    """What a file system's URLs begin with."""
    return {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)


def remote_file(system: Any, path: str, label: str, in_folder: bool) -> Found:
    """One file of a file system. Its names, which may tell the stream, are those of the URL."""
    return Found(
        Path(label.partition("://")[2] or path),
        in_folder=in_folder,
        label=label,
        spooled=lambda: spooled_object(system, path, label),
    )


def public(text: str) -> str:
    """A text without the credentials that URLs in it may hold: user and password, key and secret, query."""
    return QUERY.sub("", CREDENTIALS.sub("://", text))


@contextmanager
def spooled_object(system: Any, path: str, label: str) -> Iterator[Path]:
    """A temporary copy of a file of a file system. BrokenFileError when it does not arrive whole."""

    def copy(target: BinaryIO) -> None:
        try:
            with system.open(path, "rb") as source:
                size = getattr(source, "size", None)
                arrived = copied(source, target)
        except FileNotFoundError:
            raise BrokenFileError(f"{label}: no such file; see its name") from None
        except SpoolError:
            raise
        except Exception as error:
            reason = public(shown_reason(error))
            raise BrokenFileError(f"{label}: nothing of it is loaded, reading it failed: {reason}; try again") from None
        if isinstance(size, int) and arrived != size:
            raise BrokenFileError(f"{label}: nothing of it is loaded, {arrived} of its {size} bytes arrived; try again")

    with spool(copy, PurePosixPath(path).name, label) as copied_to:
        yield copied_to


@contextmanager
def spooled_stdin() -> Iterator[Path]:
    """A temporary copy of standard input."""

    def copy(target: BinaryIO) -> None:
        if sys.stdin is None or sys.stdin.closed:
            raise BrokenFileError("stdin: is closed; pipe something in or name a file")
        try:
            copied(sys.stdin.buffer, target)
        except SpoolError:
            raise
        except OSError as error:
            raise BrokenFileError(f"stdin: cannot be read: {shown_reason(error)}; pipe it in again") from None

    with spool(copy, "stdin", "stdin") as copied_to:
        yield copied_to


@contextmanager
def spool(copy: Callable[[BinaryIO], None], name: str, label: str) -> Iterator[Path]:
    """A temporary file that `copy` fills, making a TidemarkError of any trouble at the source. Its name ends as the
    source's, which may tell the compression; errors raised while it is used name the source instead of it."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tidemark-"))
            path = Path(folder, "spool" + "".join(PurePosixPath(name).suffixes[-2:]))
            with path.open("xb") as target:
                copy(target)
        except OSError as error:
            raise TidemarkError(
                f"{label}: no temporary copy of it can be made: {shown_reason(error)}; make room or set TMPDIR"
            ) from None
        try:
            yield path
        except TidemarkError as error:
            raise type(error)(str(error).replace(str(path), label)) from None


def copied(source: BinaryIO, target: BinaryIO) -> int:
    """Copies all bytes and says how many. SpoolError when the temporary file cannot take them."""
    size = 0
    while chunk := source.read(CHUNK):
        size += len(chunk)
        try:
            target.write(chunk)
        except OSError as error:
            raise SpoolError(*error.args) from None
    try:
        target.flush()
    except OSError as error:
        raise SpoolError(*error.args) from None
    return size


class SpoolError(OSError):
    """The temporary file, not the source, is in trouble."""
