"""`python -m ingest load`: files, folders and glob patterns into raw."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ingest.connection import connect
from ingest.files import Found
from ingest.load import FAILED, LEFT_ALONE, LOADED, LoadResult, load_paths
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
        Console(width=None if sys.stdout.isatty() else 160).print(table(results))
    rejected = sum(result.rejected for result in results)
    if rejected:
        click.echo(f"{rejected} rejected: see `python -m ingest rejects list`", err=True)
    if any(result.status == FAILED for result in results):
        sys.exit(2)
    if strict and rejected:
        sys.exit(1)


def table(results: list[LoadResult]) -> Table:
    """One line per file."""
    lines = Table(box=None, pad_edge=False)
    for heading in ("file", "stream", "status"):
        lines.add_column(heading, overflow="fold")
    for heading in ("records", "loaded", "rejected", "seconds", "rows/s"):
        lines.add_column(heading, justify="right")
    for result in results:
        counts = ["", "", "", "", ""]
        if result.status == LOADED:
            rate = f"{result.loaded / result.seconds:,.0f}" if result.seconds else ""
            counts = [f"{n:,}" for n in (result.records, result.loaded, result.rejected)]
            counts += [f"{result.seconds:.2f}", rate]
        # Not `markup`: a file's name may hold square brackets.
        lines.add_row(*(escape_markup(cell) for cell in (result.file, result.stream, result.status, *counts)))
    return lines


def escape_markup(cell: str) -> str:
    """Text that rich prints as it stands."""
    return cell.replace("[", "\\[")


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
