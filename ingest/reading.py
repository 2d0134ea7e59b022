"""Reading a file: its checksum, and the records in it, within bounded memory."""

import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from ingest.files import BrokenFileError, ChangedFileError
from ingest.streams.lines import LARGEST_RECORD, Block

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n"
# A JSON array or a pretty-printed document is read whole, up to this many bytes.
LARGEST_DOCUMENT = 128 * 1024 * 1024
# Each element of an array costs 72 bytes beside its own: this many commas bound how many there can be.
MOST_COMMAS = 8 * 1024 * 1024
# What is kept of a record that is too long.
KEPT_OF_OVERLONG = 64 * 1024
CHUNK = 1024 * 1024
# Lines are handed on in blocks of about this size: large enough that a block costs little beside its lines,
# small enough that the server has something to do while the next one is decoded.
BLOCK = 128 * 1024
# zstd can blow a few bytes up to a block of 128 KiB: small bites keep what comes out at once small.
ZSTD_BITE = 2048
raw_document = msgspec.json.Decoder(msgspec.Raw)
raw_list = msgspec.json.Decoder(list[msgspec.Raw])


def checksum(path: Path, progress: Callable[[int], None] | None = None) -> tuple[str, int]:
    """SHA-256 of a file's bytes, hexadecimal, and how many there are."""
    digest = hashlib.sha256()
    size = 0
    with opened(path) as file:
        while chunk := read_some(file, path):
            digest.update(chunk)
            size += len(chunk)
            if progress:
                progress(len(chunk))
    return digest.hexdigest(), size


def opened(path: Path) -> io.FileIO:
    """The file, unbuffered; BrokenFileError when it cannot be opened."""
    try:
        if path.is_dir():
            raise BrokenFileError(f"{path}: is a folder, not a file; name a file in it")
        # A file is read twice, and opening a pipe would wait for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BrokenFileError(f"{path}: is no plain file; write what it gives to one and load that")
        return io.FileIO(path, "rb")
    except FileNotFoundError:
        raise BrokenFileError(f"{path}: no such file; see its name") from None
    except OSError as error:
        raise BrokenFileError(
            f"{path}: cannot be read: {error.strerror or error}; mend that and load it again"
        ) from None


def read_some(file: io.FileIO, path: Path) -> bytes:
    """The next bytes of a file."""
    try:
        return file.read(CHUNK)
    except OSError as error:
        raise BrokenFileError(
            f"{path}: cannot be read: {error.strerror or error}; mend that and load it again"
        ) from None


def records(path: Path, expected: str, progress: Callable[[int], None] | None = None) -> Iterator["Record"]:
    """Every record of a file in order, blank lines left out; else like `pieces`."""
    for piece in pieces(path, expected, progress):
        if isinstance(piece, Block):
            yield from records_of(piece)
        else:
            yield piece


def pieces(path: Path, expected: str, progress: Callable[[int], None] | None = None) -> Iterator["Block | Record"]:
    """All records of a file in order: its lines in blocks; a line that is too long, or an element of an array,
    as a record.

    `expected` is the file's checksum: the bytes read must have it, else ChangedFileError at the end. A
    compressed file that is cut short or damaged raises BrokenFileError.
    """
    with opened(path) as file, ThreadPoolExecutor(1) as thread:
        hashing = HashingReader(file, progress, thread)
        try:
            yield from documents(path, decompressed(path, io.BufferedReader(hashing, CHUNK)))
            while hashing.read(CHUNK):
                pass
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            # The file may have been cut or written to since its checksum was taken.
            while hashing.read(CHUNK):
                pass
            if hashing.hexdigest() != expected:
                raise changed(path) from None
            raise BrokenFileError(f"{path}: damaged or cut short, send it again: {error}") from None
        except OSError as error:
            raise BrokenFileError(
                f"{path}: cannot be read: {error.strerror or error}; mend that and load it again"
            ) from None
        if hashing.hexdigest() != expected:
            raise changed(path)


def changed(path: Path) -> "ChangedFileError":
    """What to do about a file that is still being written."""
    return ChangedFileError(f"{path}: changed while it was read; load it again when it is complete")


def decompressed(path: Path, file: io.BufferedReader) -> io.BufferedReader:
    """The file's content, by its suffix or, where that says nothing, its first bytes."""
    name = path.name.lower()
    magic = file.peek(4)[:4]
    if name.endswith(".gz") or (magic[:2] == b"\x1f\x8b" and not name.endswith(".zst")):
        return io.BufferedReader(Gzip(file), CHUNK)
    if name.endswith(".zst") or magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(Zstd(file), CHUNK)
    return file


def documents(path: Path, file: io.BufferedReader) -> Iterator["Block | Record"]:
    """Plain content: lines, or the elements of an array, or one document over many lines."""
    number, head = 0, b""
    while not head.strip(BLANKS):
        head = file.readline(LARGEST_RECORD + 1)
        if not head:
            return
        if number == 0:
            head = head.removeprefix(BYTE_ORDER_MARK)
        number += 1
    first = head.lstrip(BLANKS)[:1]
    ahead = head
    if first == b"[" or (first == b"{" and not is_json(head)):
        following = file.readline(LARGEST_RECORD + 1)
        ahead = head + following
        if first == b"[" or not is_object(following):
            ahead += file.read(LARGEST_DOCUMENT)
            elements = None
            if not file.peek(1):
                elements = elements_of(path, ahead, first)
            elif first == b"[" and not is_json(head):
                raise BrokenFileError(
                    f"{path}: a JSON array of more than {LARGEST_DOCUMENT} bytes; write one document per line"
                    " (jq -c '.[]')"
                )
            if elements is not None:
                for place, element in enumerate(elements, 1):
                    yield as_record(place, bytes(element))
                return
    yield from blocks(Chained(ahead, file), number)


def blocks(file: "Chained", number: int) -> Iterator["Block | Record"]:
    """Content from line `number` on: whole lines in blocks, those that are too long as records."""
    while content := file.read(BLOCK):
        too_long = b""
        if not content.endswith(b"\n"):
            content += file.readline(LARGEST_RECORD + 1)
            begin = content.rfind(b"\n", 0, -1) + 1
            if len(content) - begin > LARGEST_RECORD + 1:
                content, too_long = content[:begin], content[begin:]
        if content:
            block = Block(number, content, content.removesuffix(b"\n").split(b"\n"))
            number += len(block.lines)
            yield block
        if too_long:
            yield overlong(number, too_long, file)
            number += 1


def is_json(text: bytes) -> bool:
    """Whether a text is one JSON document."""
    try:
        raw_document.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def is_object(text: bytes) -> bool:
    """Whether a text is one JSON object."""
    return text.lstrip(BLANKS).startswith(b"{") and is_json(text)


def elements_of(path: Path, whole: bytes, first: bytes) -> list[msgspec.Raw] | None:
    """The documents of a file that is one array or one object; None when it is neither."""
    if first == b"[" and whole.count(b",") > MOST_COMMAS:
        raise BrokenFileError(f"{path}: a JSON array of too many values; write one document per line (jq -c '.[]')")
    try:
        return raw_list.decode(whole) if first == b"[" else [raw_document.decode(whole)]
    except (ValueError, RecursionError):
        return None


def as_record(number: int, content: bytes) -> "Record":
    """A record; of one that is too long only the beginning."""
    if len(content) > LARGEST_RECORD:
        return Record(number, content[:KEPT_OF_OVERLONG], len(content))
    return Record(number, content, 0)


def records_of(block: Block, places: Iterable[int] | None = None) -> Iterator["Record"]:
    """The records in a block, or in its lines at `places`; blank lines are none."""
    for place in range(len(block.lines)) if places is None else places:
        if stripped := block.lines[place].strip(BLANKS):
            yield as_record(block.number + place, stripped)


def overlong(number: int, head: bytes, file: "Chained") -> "Record":
    """A line that is too long: its beginning is kept, the rest is passed over."""
    size = len(head)
    kept = head[:KEPT_OF_OVERLONG]
    while head and not head.endswith(b"\n"):
        head = file.readline(CHUNK)
        size += len(head)
    return Record(number, kept, size)


class Record(msgspec.Struct, gc=False):
    """One record's bytes and its line (its place, in an array). `overlong` is its size if it is too long:
    then `content` is only the beginning."""

    number: int
    content: bytes
    overlong: int


class HashingReader(io.RawIOBase):
    """Passes a file's bytes on and takes their checksum in another thread, which costs this one nothing."""

    def __init__(self, file: io.FileIO, progress: Callable[[int], None] | None, thread: ThreadPoolExecutor) -> None:
        self.file = file
        self.progress = progress
        self.thread = thread
        self.digest = hashlib.sha256()
        self.hashing: Future[None] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        size = self.file.readinto(buffer) or 0
        if self.hashing:
            self.hashing.result()
        # The caller may change its buffer as soon as it has it.
        self.hashing = self.thread.submit(self.digest.update, bytes(memoryview(buffer)[:size]))
        if self.progress and size:
            self.progress(size)
        return size

    def hexdigest(self) -> str:
        """Checksum of what was read so far."""
        if self.hashing:
            self.hashing.result()
        return self.digest.hexdigest()


class Gzip(gzip.GzipFile):
    """A gzip file of any number of members; an empty file is one cut short."""

    def __init__(self, file: io.BufferedReader) -> None:
        if not file.peek(1):
            raise EOFError("it is empty")
        super().__init__(fileobj=file, mode="rb")


class Zstd(io.RawIOBase):
    """A zstd file of any number of frames, which must be complete."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.file = file
        self.context = zstandard.ZstdDecompressor()
        self.frame: zstandard.ZstdDecompressionObj | None = None
        self.pending = b""
        self.ready = memoryview(b"")
        self.begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while not self.ready:
            bite = self.pending or self.file.read(ZSTD_BITE)
            self.pending = b""
            if not bite:
                if self.frame is not None or not self.begun:
                    raise EOFError("the last frame is not complete")
                return 0
            if self.frame is None:
                self.frame = self.context.decompressobj()
                self.begun = True
            self.ready = memoryview(self.frame.decompress(bite))
            if self.frame.eof:
                self.pending = self.frame.unused_data
                self.frame = None
        size = min(len(buffer), len(self.ready))
        buffer[:size] = self.ready[:size]
        self.ready = self.ready[size:]
        return size


class Chained:
    """What was read ahead, then the rest of the file."""

    def __init__(self, ahead: bytes, rest: io.BufferedReader) -> None:
        self.ahead: BinaryIO = io.BytesIO(ahead)
        self.rest = rest

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        return self.ahead.read(size) or self.rest.read(size)

    def readline(self, limit: int) -> bytes:
        """Like a file's: a line, or `limit` bytes of it."""
        line = self.ahead.readline(limit)
        if line.endswith(b"\n") or len(line) == limit:
            return line
        return line + self.rest.readline(limit - len(line))
