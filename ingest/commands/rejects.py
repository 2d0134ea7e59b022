"""`python -m ingest rejects`: what could not be loaded, and its way back."""

import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click

from ingest import rejects as library
from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.rejects import CLEARED_COUNTS, Filters, Reject, Replay
from ingest.shown import as_json, cell, print_table, readable, visible
from ingest.streams.registry import NAMES
from ingest.streams.values import Refusal, moment

REFUSALS_SHOWN = 20


def filters_of(since: str | None, limit: int | None, everything: bool = False, **told: Any) -> Filters:
    """The options of a command as filters."""
    try:
        return Filters(since=moment(since, "--since"), limit=limit, cleared=everything, **told)
    except Refusal as error:
        raise TidemarkError(f"{error}; write it like 2026-03-02 or 2026-03-02T09:00:00Z") from None


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which rejects are meant."""
    for option in reversed(
        (
            click.option("--stream", type=click.Choice(NAMES), help="Only those of this stream."),
            click.option("--file", metavar="TEXT", help="Only those of files with this text in their name."),
            click.option("--load", "load_id", type=int, metavar="ID", help="Only those of this load."),
            click.option("--reason", metavar="TEXT", help="Only those with this text in their reason."),
            click.option("--since", metavar="TIME", help="Only those received at this time or later; UTC."),
            click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many."),
        )
    ):
        command = option(command)
    return command


with_cleared = click.option("--all", "everything", is_flag=True, help="Also those replayed or discarded.")


@click.group()
def rejects() -> None:
    """Show, export, mend and replay the records that could not be loaded."""


@rejects.command("list")
@filtered
@with_cleared
@click.option("--each", is_flag=True, help="One line per reject instead of one per stream, field and reason.")
@click.option("--json", "json_lines", is_flag=True, help="One JSON object per line.")
def list_rejects(each: bool, json_lines: bool, **told: Any) -> None:
    """Say what was rejected and why, the newest first."""
    filters = filters_of(**told)
    with connect() as connection:
        if each:
            rows = [each_row(reject, json_lines) for reject in library.find(connection, filters)]
        else:
            rows = library.summary(connection, filters)
    if json_lines:
        for row in rows:
            click.echo(as_json(row))
        return
    if not filters.cleared:
        rows = [{name: value for name, value in row.items() if name not in (*CLEARED_COUNTS, "state")} for row in rows]
    print_table(rows)
    if not rows:
        click.echo("no rejects", err=True)


def each_row(reject: Reject, in_full: bool) -> dict[str, Any]:
    """One reject as a line of a list, without its record."""
    row = {
        "reject_id": reject.reject_id,
        "received_at": reject.received_at,
        "stream": reject.stream,
        "file": reject.file,
        "line_number": reject.line_number,
        "element": reject.element,
        "field": reject.field,
        "reason": reject.reason,
        "state": reject.state,
    }
    return {"load_id": reject.load_id, **row} if in_full else {**row, "reject_id": str(reject.reject_id)}


@rejects.command()
@click.argument("ids", nargs=-1, required=True, type=int, metavar="ID...")
def show(ids: tuple[int, ...]) -> None:
    """Show rejects whole, with the record that was sent.

    JSON is laid out in lines. What a terminal would not print is written as an escape.
    """
    with connect() as connection:
        for reject in library.find(connection, Filters(ids=ids, cleared=True)):
            for name in library.COLUMNS:
                if name != "record" and getattr(reject, name) is not None:
                    value = getattr(reject, name)
                    click.echo(f"{name:<16}{value if isinstance(value, int) else cell(value)}")
            click.echo(f"{'state':<16}{reject.state}")
            if reject.is_part and library.is_batch(reject.record):
                click.echo(f"{'record':<16}the whole batch; it also holds the others of this line")
            click.echo(f"\n{readable(reject.record)}\n")


@rejects.command()
@filtered
@with_cleared
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="A new file to write to.")
@click.argument("ids", nargs=-1, type=int, metavar="[ID]...")
def export(ids: tuple[int, ...], output: Path | None, **told: Any) -> None:
    """Write rejects with their records, one JSON object per line, to standard output or a file.

    Mend the `record` of each line in an editor or a script, and give the file to `rejects replay`.
    """
    filters = filters_of(ids=ids, **told)
    written = 0
    with connect() as connection, closing(library.units(connection, filters)) as units:
        # No file for what cannot be found.
        first = list(islice(units, 1))
        with opened_new(output) as file:
            for unit in chain(first, units):
                file.write(library.export_line(unit))
                written += len(unit.rejects)
    click.echo(f"{written} rejects exported", err=True)


def opened_new(path: Path | None) -> Any:
    """The file to write, which must not be there yet, or standard output."""
    if path is None:
        return nullcontext(sys.stdout.buffer)
    try:
        return path.open("xb")
    except FileExistsError:
        raise TidemarkError(f"{path}: is there already: name a new file with --output") from None
    except OSError as error:
        raise TidemarkError(f"{path}: cannot be written ({error.strerror}): name another file with --output") from None


@rejects.command()
@filtered
@click.option("--strict", is_flag=True, help="Exit with status 1 when any record is still refused.")
@click.argument("what", nargs=-1, metavar="[ID... | FILE]")
def replay(what: tuple[str, ...], strict: bool, **told: Any) -> None:
    """Load rejected records again; those that load are cleared.

    Without a file, the stored records are tried as they are, after the code, a mapping or a seed changed: those of
    these IDs, or all that the options mean. With FILE, an export whose records you mended (`-` is standard input).
    Either way a record loads once, however often it is replayed.
    """
    ids = [int(word) for word in what if word.isdecimal()]
    filters = filters_of(ids=ids, **told)
    with connect() as connection:
        if len(ids) == len(what):
            result = library.replay_stored(connection, filters)
        elif len(what) > 1 or filters != Filters(ids=[]):
            raise TidemarkError("name either one exported file and nothing else, or ids and options")
        else:
            with opened_export(what[0]) as lines:
                result = library.replay_export(connection, lines, what[0])
    tell(result)
    if strict and result.refused:
        sys.exit(1)


def opened_export(name: str) -> Any:
    """The lines of an exported file, or of standard input."""
    if name == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise TidemarkError(
            f"{name}: cannot be read ({error.strerror}): name reject ids, or a file that `rejects export` wrote"
        ) from None


def tell(result: Replay) -> None:
    """What a replay did on standard output; what is still refused on standard error."""
    click.echo(f"{result.cleared} rejects cleared, {result.rows} rows loaded")
    if result.earlier:
        click.echo(f"{result.earlier} were cleared before", err=True)
    for reject_id, reason in result.refused[:REFUSALS_SHOWN]:
        click.echo(f"still refused: {reject_id}: {visible(reason)}", err=True)
    if len(result.refused) > REFUSALS_SHOWN:
        click.echo(f"{len(result.refused)} are still refused in all", err=True)


@rejects.command()
@click.option("--note", metavar="TEXT", help="Why; kept with the rejects.")
@click.argument("ids", nargs=-1, required=True, type=int, metavar="ID...")
def discard(ids: tuple[int, ...], note: str | None) -> None:
    """Clear rejects that nobody will mend. They stay in raw.rejects, counted apart."""
    with connect() as connection:
        discarded = library.discard(connection, Filters(ids=ids), note)
    click.echo(f"{discarded} rejects discarded")
    if discarded < len(set(ids)):
        click.echo(f"{len(set(ids)) - discarded} were cleared before", err=True)
