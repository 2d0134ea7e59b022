"""`python -m ingest status`."""

from typing import Any

import click

from ingest import status as library
from ingest.connection import connect, resolve
from ingest.rejects import CLEARED_COUNTS
from ingest.shown import as_json, cell, print_table

NOT_SHOWN = ("checksum", "app", "mended")


@click.command()
@click.option("--last", type=click.IntRange(min=1), default=10, show_default=True, help="How many loads.")
@click.option("--json", "one_object", is_flag=True, help="Print one JSON object.")
def status(last: int, one_object: bool) -> None:
    """Say what is in: the last loads, open rejects by reason, lag, files waiting in the inbox."""
    with connect(resolve(reading=True)) as connection:
        found = library.status(connection, last)
    if one_object:
        click.echo(as_json(found))
        return
    print_table([load_row(load) for load in found["loads"]], "Last loads")
    print_table([without(row, CLEARED_COUNTS) for row in found["rejects"]], "Open rejects")
    print_table(found["streams"], "Streams")
    print_table([{"newest": found["newest_seq"], **mark} for mark in found["marks"]], "Lag of each target")
    inbox = found["inbox"]
    oldest = f", the oldest from {cell(inbox['oldest_at'])}" if inbox["oldest_at"] else ""
    click.echo(f"Inbox {cell(inbox['folder'])}: {inbox['files']} files waiting, {cell(inbox['bytes'])} bytes{oldest}")


def load_row(load: dict[str, Any]) -> dict[str, Any]:
    """A load as a line of a table; ids are names, not amounts."""
    return {"load": str(load["load_id"]), **without(load, ("load_id", "published_seq", *NOT_SHOWN))}


def without(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The row but for some columns."""
    return {name: value for name, value in row.items() if name not in names}
