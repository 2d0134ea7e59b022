"""The dbt manifest that Dagster's definitions are made from, kept as new as the project's files."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingest.errors import TidemarkError
from ingest.server import home_folder
from orchestration.refresh import PROJECT_FOLDER, dbt_arguments

PROJECT_FILES = ("dbt_project.yml", "profiles.yml", "selectors.yml")
PROJECT_FOLDERS = ("models", "seeds", "macros", "functions", "tests/dbt")


def artifacts_folder() -> Path:
    """Where Dagster keeps what dbt writes: the manifest, and a target folder per run."""
    return home_folder() / "dagster" / "dbt"


def load_manifest() -> dict[str, Any]:
    """The project's manifest.json as a mapping, parsed anew when there is none or a project file is newer.

    Raises:
        TidemarkError: the project does not parse.
    """
    path = artifacts_folder() / "manifest.json"
    if not _is_current(path):
        with _locked(path.parent):
            # Whoever held the lock may have done it.
            if not _is_current(path):
                _parse(path)
    return json.loads(path.read_text(encoding="utf-8"))


def _is_current(path: Path) -> bool:
    try:
        return path.stat().st_mtime >= max(file.stat().st_mtime for file in _inputs())
    except FileNotFoundError:
        # No manifest, or a file went away while we looked.
        return False


def _inputs() -> Iterator[Path]:
    """Files and folders; a folder's time tells of files removed from it."""
    yield from filter(Path.exists, (PROJECT_FOLDER / name for name in PROJECT_FILES))
    for name in PROJECT_FOLDERS:
        for folder, _, files in os.walk(PROJECT_FOLDER / name):
            yield Path(folder)
            yield from (Path(folder, file) for file in files)


def _parse(path: Path) -> None:
    target = path.parent / "parse"
    started = time.time()
    parsed = subprocess.run(
        [
            sys.executable,
            "-m",
            "dbt.cli.main",
            "parse",
            "--quiet",
            "--target-path",
            target,
            *dbt_arguments("prod"),
        ],
        env=os.environ | {"DBT_LOG_PATH": str(target), "DBT_LOG_FORMAT": "text", "DBT_USE_COLORS": "false"},
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    if parsed.returncode != 0:
        said = " ".join((parsed.stdout or parsed.stderr).split())
        raise TidemarkError(f"The dbt project does not parse: {said[-2000:] or f'exit status {parsed.returncode}'}")
    # A file edited while dbt was reading must count as newer.
    os.utime(target / "manifest.json", (started, started))
    os.replace(target / "manifest.json", path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
