"""`python -m ingest pull`: rows of another PostgreSQL database into raw."""

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.pull.mapping import Mapping, described, interval, mappings, read_mapping
from ingest.pull.run import DEFAULT_BATCH, FAILED, PullResult
from ingest.pull.run import pull as pull_mapping
from ingest.pull.source import DEFAULT_SCHEMA, VARIABLE, source_of
from ingest.pull.state import all_progress
from ingest.shown import print_table, tell_rejected
from ingest.streams.values import Refusal, timestamp

MOST_IN_A_BATCH = 1_000_000


@click.command()
@click.argument("names", nargs=-1)
@click.option("--from", "url", metavar="URL", help=f"The database to read: postgresql://user@host/db, else {VARIABLE}.")
@click.option("--schema", default=DEFAULT_SCHEMA, show_default=True, help="Where its tables are.")
@click.option("--source", metavar="NAME", help="What the watermarks are kept under, else host/database.")
@click.option(
    "--mapping",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A YAML file that describes another table; pulled when no NAMES are given.",
)
@click.option("--app", help="The app of records that name none.")
@click.option("--since", metavar="TIME", help="Read from this time on; never less far back than the watermark.")
@click.option("--overlap", metavar="TIME", help="How far before the watermark to read again, such as 10min or 1d.")
@click.option(
    "--batch", type=click.IntRange(1, MOST_IN_A_BATCH), default=DEFAULT_BATCH, show_default=True, help="Rows per load."
)
@click.option("--dry-run", is_flag=True, help="Read and count, write nothing.")
@click.option("--list", "only_list", is_flag=True, help="Show the mappings and how far they were pulled.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per mapping instead of a table.")
def pull(
    names: tuple[str, ...],
    url: str | None,
    schema: str,
    source: str | None,
    files: tuple[Path, ...],
    app: str | None,
    since: str | None,
    overlap: str | None,
    batch: int,
    dry_run: bool,
    only_list: bool,
    as_json: bool,
) -> None:
    """Pull new and changed rows of the tables NAMES from another PostgreSQL database into raw.

    Rows are read in the order of their watermark, a time such as updated_at, from a little before where the
    last pull ended; rows pulled before are left out. Nothing is written to that database.

    Exit status: 0; 2 when a table could not be pulled to its end.
    """
    known = mappings(files)
    if only_list:
        with connect(autocommit=True) as warehouse:
            show_mappings(known, all_progress(warehouse), as_json)
        return
    chosen = [find(name, known) for name in names or [read_mapping(path).name for path in files]]
    if not chosen:
        raise TidemarkError(f"Which table? Name some of {', '.join(known)}, or describe another with --mapping FILE")
    there = source_of(url, source, schema)
    options = {
        "schema": schema,
        "since": time_of(since),
        "overlap": interval(overlap) if overlap else None,
        "batch_rows": batch,
        "app": app,
        "dry_run": dry_run,
        "notify": lambda line: click.echo(line, err=True),
    }
    results = []
    with connect(autocommit=True) as warehouse:
        for mapping in chosen:
            results.append(pull_mapping(warehouse, there, mapping, **options))
            report(results[-1], as_json)
    if not as_json:
        print_table(map(shown, results))
    tell_rejected(sum(result.rejected for result in results))
    if any(result.status == FAILED for result in results):
        sys.exit(2)


def find(name: str, known: dict[str, Mapping]) -> Mapping:
    """The mapping of that name."""
    if name not in known:
        raise TidemarkError(
            f"There is no mapping {name!r}: there are {', '.join(known)}; describe another with --mapping FILE"
        )
    return known[name]


def time_of(told: str | None) -> str | None:
    """--since as ISO text in UTC."""
    try:
        return timestamp(told, "--since") or None
    except Refusal as error:
        raise TidemarkError(f"{error}: write one such as 2026-03-01T00:00:00Z") from None


def report(result: PullResult, as_json: bool) -> None:
    """What is told as soon as a mapping is done."""
    if as_json:
        click.echo(msgspec.json.encode(result.as_json()))
    for note in result.notes:
        click.echo(note, err=True)
    if result.error:
        click.echo(f"Error: {result.error}", err=True)


def shown(result: PullResult) -> dict[str, Any]:
    """One line of the table: a mapping."""
    line = {name: getattr(result, name) for name in ("mapping", "stream", "status", "read", "known")}
    line |= {"loaded": result.loaded, "rejected": result.rejected}
    return line | {"seconds": Decimal(f"{result.seconds:.2f}"), "watermark": result.watermark}


def show_mappings(known: dict[str, Mapping], progress: list[dict[str, Any]], as_json: bool) -> None:
    """Every mapping, with one line per source it was pulled from; also those pulled with a file not given now."""
    lines = []
    for name in sorted({*known, *(str(row["mapping"]) for row in progress)}):
        what = described(known[name]) if name in known else {"mapping": name}
        lines += [what | row for row in progress if row["mapping"] == name] or [what]
    if as_json:
        for line in lines:
            click.echo(msgspec.json.encode(line))
        return
    columns = ("mapping", "stream", "table", "watermark_column", "source", "watermark", "rows_pulled", "pulled_at")
    print_table({column: line.get(column) for column in columns} for line in lines)
