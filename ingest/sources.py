"""Which files paths, folders, patterns and URLs mean."""

import os
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

from ingest.errors import TidemarkError
from ingest.files import SUFFIXES, Found, is_data
from ingest.remote import find_remote, is_remote


def find_files(paths: Iterable["str | Path | Found"]) -> list["Found"]:
    """The data files that paths, folders (with all below them) and glob patterns mean: each once, a folder's
    in order of name. `-` is standard input, `s3://…` and the like what `ingest.remote` finds there; what is found
    already stays. TidemarkError for a path that is not there or a pattern that matches nothing."""
    found: dict[Path | str, Found] = {}
    for given in paths:
        path = given.path if isinstance(given, Found) else Path(given)
        if isinstance(given, Found):
            files = [given]
        elif is_remote(given):
            files = find_remote(given)
        elif path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and is_data(file, path))
            files = [Found(file, in_folder=True) for file in inside]
            if not files:
                raise TidemarkError(
                    f"{path}: no data files in this folder: put some there; they end in {', '.join(SUFFIXES)}"
                )
        elif path.exists() or not has_magic(str(path)):
            files = [Found(path, in_folder=False)]
        else:
            matches = sorted(glob(str(path), recursive=True))
            files = [Found(Path(match), in_folder=True) for match in matches if Path(match).is_file()]
            if not files:
                raise TidemarkError(f"{path}: no file matches this pattern; quote it, and see what lies there")
        for file in files:
            # Not Path.resolve, which raises for a loop of links.
            found.setdefault(file.label or Path(os.path.realpath(file.path)), file)
    return list(found.values())
