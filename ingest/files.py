"""A file to load: whether it is one by its name, and which stream its name tells."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePath

from ingest.errors import TidemarkError
from ingest.streams.registry import NAMES, SYNONYMS

SUFFIXES = (".ndjson", ".jsonl", ".json")
COMPRESSIONS = (".gz", ".zst")


def is_data(file: PurePath, folder: PurePath) -> bool:
    """Whether a file found in a folder is one to load, by its name; hidden ones are not."""
    inside = file.relative_to(folder)
    return bare_suffix(file) in SUFFIXES and not any(part.startswith(".") for part in inside.parts)


def bare_suffix(file: PurePath) -> str:
    """The suffix below a compression's: `.ndjson` of `x.ndjson.gz`."""
    name = file.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


def stream_of(path: Path) -> str | None:
    """The stream a file's name tells, else its nearest folder's. Unclear names: BrokenFileError."""
    for part in reversed(path.parts):
        name = part.lower().replace("-", "_")
        told = {
            SYNONYMS.get(stream, stream)
            for stream in (*NAMES, *SYNONYMS)
            if re.search(rf"(?<![a-z0-9]){stream}(?![a-z0-9])", name)
        }
        if len(told) > 1:
            raise BrokenFileError(f"{path}: {part!r} names more than one stream; say which with --stream")
        if told:
            return told.pop()
    return None


def unknown_stream(path: Path | str) -> TidemarkError:
    """What to do about a file whose stream nothing tells."""
    return TidemarkError(
        f"{path}: which stream is it? Use --stream, or put its name into the file's or folder's name"
        f" ({', '.join(NAMES)})"
    )


def shown_reason(error: Exception) -> str:
    """The first line of what an error says."""
    said = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return said[0] if said else type(error).__name__


class BrokenFileError(TidemarkError):
    """A file that cannot be loaded as it is."""


class ChangedFileError(TidemarkError):
    """A file that changed while it was read."""


class Found:
    """A file to load, and whether it was named itself or found in a folder or by a pattern.

    One that is no local file has a `label`, what to call it, and `spooled`, which makes a local copy of it for
    as long as its context lasts; `path` then only holds its names.
    """

    def __init__(
        self,
        path: Path,
        in_folder: bool,
        label: str | None = None,
        spooled: Callable[[], AbstractContextManager[Path]] | None = None,
    ) -> None:
        self.path = path
        self.in_folder = in_folder
        self.label = label
        self.spooled = spooled

    def local(self) -> AbstractContextManager[Path]:
        """A context whose value is the file's path here."""
        return self.spooled() if self.spooled else nullcontext(self.path)
