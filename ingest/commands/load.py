"""`python -m ingest load`: files, folders and glob patterns into raw."""

import sys
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.connection import connect
from ingest.files import Found
from ingest.load import FAILED, LEFT_ALONE, LOADED, LoadResult, load_paths
from ingest.shown import print_table, tell_refused, tell_rejected
from ingest.sources import find_files
from ingest.streams.registry import NAMES


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--stream", type=click.Choice(NAMES), help="What the files hold, when their names do not say.")
@click.option("--app", help="The app of records that name none.")
@click.option("--force", is_flag=True, help="Load files again that are loaded already.")
@click.option("--strict", is_flag=True, help="Exit with status 1 when any record was rejected.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file instead of a table.")
def load(paths: tuple[str, ...], stream: str | None, app: str | None, force: bool, strict: bool, as_json: bool) -> None:
    """Load PATHS (files, folders, glob patterns, URLs of them, - for standard input) into raw, each file wholly
    or not at all.

    Files are NDJSON (.ndjson, .jsonl), a JSON array or one JSON document (.json), plain or compressed (.gz,
    .zst). The stream is told by --stream, else by the file's or folder's name. Records that cannot be loaded
    are kept in raw.rejects with the reason. A file loaded already is not loaded again. URLs (s3://, gs://, …)
    need pip install 'tidemark[remote]' and the package of that store.

    Exit status: 0; 1 with --strict when records were rejected; 2 when a file could not be loaded.
    """
    files = find_files(paths)
    results: list[LoadResult] = []

    def report(result: LoadResult) -> None:
        results.append(result)
        if as_json:
            click.echo(msgspec.json.encode(result.as_json()))
        if result.error or result.status == LEFT_ALONE:
            kind = f"Error: {result.error}" if result.error else f"left alone: {result.file}: {result.note}"
            click.echo(kind, err=True)

    with connect() as connection, progress_bar(files) as advance:
        load_paths(connection, files, stream=stream, app=app, force=force, progress=advance, report=report)
    if not as_json:
        print_table(map(shown, results))
    rejected = sum(result.rejected for result in results)
    tell_rejected(rejected)
    tell_refused(sum(result.refused for result in results))
    if any(result.status == FAILED for result in results):
        sys.exit(2)
    if strict and rejected:
        sys.exit(1)


def shown(result: LoadResult) -> dict[str, Any]:
    """One line of the table: a file."""
    line: dict[str, Any] = {"file": result.file, "stream": result.stream, "status": result.status}
    is_loaded = result.status == LOADED
    for name in ("records", "loaded", "rejected"):
        line[name] = getattr(result, name) if is_loaded else None
    line["seconds"] = Decimal(f"{result.seconds:.2f}") if is_loaded else None
    line["rows/s"] = round(result.loaded / result.seconds) if is_loaded and result.seconds else None
    return line


def progress_bar(files: list[Found]) -> Any:
    """A context whose value takes (path, bytes read) and shows it on standard error, or does nothing when
    that is no terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    # How much comes from elsewhere is not known before it is here.
    if any(found.label for found in files):
        return Bar(None)
    # Every byte is read twice.
    return Bar(sum(2 * found.path.stat().st_size for found in files if found.path.exists()))


class Bar:
    """The progress bar over all files of a call."""

    def __init__(self, total: int | None) -> None:
        self.total = total

    def __enter__(self) -> Any:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.progress.start()
        task = self.progress.add_task("", total=self.total)

        def advance(path: Path, size: int) -> None:
            self.progress.update(task, advance=size, description=path.name.replace("[", "\\["))

        return advance

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()
