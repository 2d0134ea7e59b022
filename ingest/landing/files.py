"""One landing file: there whole, on disk, or not there."""

import contextlib
import errno
import os

# What file systems answer that cannot sync a folder: they need no such thing.
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


def land(folder: str, name: str, content: bytes) -> None:
    """Puts a file into a folder, made if it is missing, so that no reader ever sees a part of it.

    Written under a hidden name, synced, renamed; the name is on disk for certain after `sync_folder`. OSError, and
    nothing left behind, when it could not be written.
    """
    hidden, visible = os.path.join(folder, f".{name}"), os.path.join(folder, name)
    try:
        file = new_file(hidden)
    except FileNotFoundError:
        make_folder(folder)
        file = new_file(hidden)
    try:
        try:
            write_all(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(hidden, visible)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(hidden)
        raise


def new_file(path: str) -> int:
    """A new file's descriptor; who may read it is the umask's business."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)


def write_all(file: int, content: bytes) -> None:
    """Writes every byte; the system may take fewer at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def make_folder(folder: str) -> None:
    """Makes a folder and those above it, each entry synced: a file in a folder that a power cut forgets is
    forgotten with it."""
    above = os.path.dirname(folder)
    if above and not os.path.isdir(above):
        make_folder(above)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    sync_folder(above or ".")


def sync_folder(folder: str) -> None:
    """Puts a folder's entries on disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(opened)
