"""Ids in text and files: where they are mentioned, and files without the records that mention them."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import zstandard

# Characters of a word around an id: where one stands before or behind it, it is part of something else.
INSIDE_A_WORD = "A-Za-z0-9"
STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"')
LARGEST_DOCUMENT = 512 * 1024 * 1024


def is_distinctive(text: str) -> bool:
    """Whether an id can be looked for in any text: `7`, `admin` and `anonymous` would be found in everybody's."""
    if "@" in text or len(text) >= 16:
        return True
    has_digit = any(character.isdigit() for character in text)
    return has_digit and (len(text) >= 9 or (len(text) >= 4 and not text.isdigit()))


def spellings(text: str) -> set[str]:
    """An id as it may stand in text, JSON and URLs."""
    return {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text), quote(text, safe="")}


class Mentions:
    """Where ids are mentioned. Distinctive ones are found wherever they stand as a word, others as whole values."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = {text for text in ids if text}
        self.distinctive = {text for text in self.ids if is_distinctive(text)}
        self.whole = {spelling.encode("utf-8", "surrogatepass") for text in self.ids for spelling in spellings(text)}
        self.whole |= {text.lower() for text in self.whole if b"@" in text}
        plain = self.pattern(text for text in self.distinctive if "@" not in text)
        addresses = self.pattern(text for text in self.distinctive if "@" in text)
        self.plain = re.compile(plain.encode()) if plain else None
        self.addresses = re.compile(addresses.encode(), re.IGNORECASE) if addresses else None

    @staticmethod
    def pattern(texts: Iterable[str]) -> str:
        """A regular expression of these ids where they stand as a word, Python's and PostgreSQL's; empty for none."""
        found = sorted({spelling for text in texts for spelling in spellings(text)}, key=lambda one: (-len(one), one))
        if not found:
            return ""
        words = "|".join(escaped(one) for one in found)
        return f"(?<![{INSIDE_A_WORD}])(?:{words})(?![{INSIDE_A_WORD}])"

    def in_text(self, content: bytes) -> bool:
        """Whether bytes mention an id."""
        if self.plain and self.plain.search(content):
            return True
        if self.addresses and self.addresses.search(content):
            return True
        return any(one in self.whole or (b"@" in one and one.lower() in self.whole) for one in STRING.findall(content))


def escaped(text: str) -> str:
    """Text that stands for itself in a regular expression of Python and of PostgreSQL."""
    return re.sub(r"([^\w\s])", r"\\\1", text, flags=re.ASCII) if text.isascii() else re.escape(text)


def forget_in_folders(folders: Iterable[Path], mentions: Mentions, *, whole_files: bool = False) -> tuple[int, int]:
    """Files changed and files removed in folders, so that none mentions an id.

    With `whole_files` a file that does is removed: an export can be made again. So is one that cannot be read, and a
    Parquet file, whose content no search sees.
    """
    changed = removed = 0
    for folder in folders:
        for here, _, names in os.walk(folder):
            for name in names:
                path = Path(here) / name
                if path.is_symlink() or not path.is_file() or name == ".lock":
                    continue
                if whole_files:
                    if path.suffix == ".parquet" or mentioned_in(path, mentions):
                        path.unlink()
                        removed += 1
                    continue
                outcome = forget_in_file(path, mentions)
                changed += outcome == "changed"
                removed += outcome == "removed"
    return changed, removed


def mentioned_in(path: Path, mentions: Mentions) -> bool:
    """Whether a file, or its name, mentions an id; one that cannot be read is taken to."""
    if mentions.in_text(os.fsencode(path.name)):
        return True
    try:
        with opened(path) as file:
            return any(mentions.in_text(line) for line in file)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        return True


def forget_in_file(path: Path, mentions: Mentions) -> str:
    """Take the records that mention an id out of a file: `kept` as it was, `changed`, or `removed`.

    NDJSON loses lines and a JSON array elements; one document that mentions an id is removed, and so is a file that
    cannot be read. The new file takes the old one's place at once.
    """
    if not mentioned_in(path, mentions):
        return "kept"
    if mentions.in_text(os.fsencode(path.name)):
        path.unlink()
        return "removed"
    draft = path.with_name(f".{path.name}.forgetting")
    try:
        with opened(path) as file, written(draft, path) as target:
            kept = 0
            for record in records_without(file, mentions):
                target.write(record)
                kept += 1
        if kept:
            os.replace(draft, path)
            return "changed"
    except (OSError, EOFError, ValueError, RecursionError, zlib.error, zstandard.ZstdError):
        pass
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    path.unlink()
    return "removed"


def records_without(file: IO[bytes], mentions: Mentions) -> Iterator[bytes]:
    """What stays of a file: its lines, or one line that is its array."""
    first = file.readline()
    while first and not first.strip():
        first = file.readline()
    if first.lstrip(b"\xef\xbb\xbf \t").startswith(b"[") or not is_whole(first):
        content = first + file.read(LARGEST_DOCUMENT)
        if file.read(1):
            raise ValueError("too large to be taken apart")
        document = json.loads(content, parse_float=Digits, parse_int=Digits)
        if isinstance(document, list):
            kept = [one for one in document if not mentions.in_text(as_json(one))]
            if kept:
                yield as_json(kept) + b"\n"
        return
    for line in chain([first], file):
        if not mentions.in_text(line):
            yield line


def is_whole(line: bytes) -> bool:
    """Whether a line is a JSON value by itself, or broken beyond that: no beginning of one over several lines."""
    try:
        json.loads(line)
    except ValueError as error:
        # A document goes on behind the line's end; a broken line breaks before it.
        return getattr(error, "pos", 0) < len(line.rstrip()) - 1 and line.strip() not in (b"{", b"[")
    return True


class Digits(float):
    """A number that is written as it was read."""

    def __new__(cls, text: str) -> Digits:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text


def as_json(value: Any) -> bytes:
    """JSON of what was read, its numbers digit for digit."""
    if isinstance(value, dict):
        return b"{" + b",".join(as_json(key) + b":" + as_json(one) for key, one in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(as_json, value)) + b"]"
    return (value.text if isinstance(value, Digits) else json.dumps(value, ensure_ascii=False)).encode(
        "utf-8", "surrogatepass"
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's content, decompressed, to be read by lines."""
    with path.open("rb") as raw:
        beginning = raw.read(4)
        raw.seek(0)
        if beginning[:2] == b"\x1f\x8b":
            with gzip.open(raw) as file:
                yield file
        elif beginning == b"\x28\xb5\x2f\xfd":
            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
                yield io.BufferedReader(stream)
        else:
            yield raw


@contextlib.contextmanager
def written(draft: Path, like: Path) -> Iterator[IO[bytes]]:
    """A new file, compressed as the one it is to replace, with its rights."""
    with like.open("rb") as original:
        beginning = original.read(4)
    mode = like.stat().st_mode & 0o777
    descriptor = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "wb") as raw:
        if beginning[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw, mode="wb") as file:
                yield file
        elif beginning == b"\x28\xb5\x2f\xfd":
            with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as file:
                yield file
        else:
            yield raw
        raw.flush()
        os.fsync(raw.fileno())
