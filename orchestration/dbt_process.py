"""dbt in a process of its own that never outlives the run which holds the refresh lock.

`python -m orchestration.dbt_process build …` is dbt's command line, ended at once when its parent is gone:
models must not change any more after a killed run has let go of the lock.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestration.dbt_manifest import artifacts_folder
from orchestration.refresh import PROJECT_FOLDER, dbt_arguments

RUNS_KEPT = 20
LOGS_KEPT = 500
STOP_SECONDS = 20
PARTIAL_PARSE = "partial_parse.msgpack"
PARENT_VARIABLE = "TIDEMARK_DBT_PARENT"


@contextmanager
def running_dbt(
    arguments: Sequence[str], target_folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start dbt on the prod target with `environment` added to ours; it has ended when the block is left.

    It writes artifacts and its log to `target_folder`, and events as JSON lines to its `stdout`.
    """
    target_folder.mkdir(parents=True)
    parsed = artifacts_folder() / PARTIAL_PARSE
    if parsed.exists():
        shutil.copy(parsed, target_folder / PARTIAL_PARSE)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.dbt_process", *arguments, *dbt_arguments("prod")],
        env=os.environ
        | {
            "DBT_LOG_FORMAT": "json",
            "DBT_LOG_PATH": str(target_folder),
            "DBT_TARGET_PATH": str(target_folder),
            "DBT_USE_COLORS": "false",
            "PYTHONUNBUFFERED": "1",
            PARENT_VARIABLE: str(os.getpid()),
        }
        | environment,
        cwd=PROJECT_FOLDER,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        _end(process)
    _keep_parsed(target_folder / PARTIAL_PARSE, parsed)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        # dbt answers this by cancelling its statements in the database.
        process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _keep_parsed(written: Path, kept: Path) -> None:
    """What dbt parsed for this server spares the next run the parsing."""
    if written.exists():
        waiting = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copy(written, waiting)
        os.replace(waiting, kept)


def prune_runs(folder: Path, keep: int) -> None:
    """Remove the oldest folders in `folder`, all but `keep`."""
    if folder.exists():
        oldest_first = sorted(folder.iterdir(), key=lambda run: run.stat().st_mtime)
        for run in oldest_first[:-keep]:
            shutil.rmtree(run, ignore_errors=True)


def end_with(parent: int) -> None:
    """End this process, whatever it is doing, when the process `parent` is no longer its parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    from dbt.cli.main import cli

    from orchestration.dbt_overhead import spare_overhead

    spare_overhead()
    end_with(int(os.environ[PARENT_VARIABLE]))
    cli(prog_name="dbt")
