"""`python -m ingest enrich`: what user agents tell and where addresses lie, looked up."""

import click

from ingest import enrich as enrichment
from ingest.connection import connect
from ingest.errors import TidemarkError
from ingest.geoip import VARIABLE


@click.command()
@click.option("--rebuild", is_flag=True, help="Make both tables anew from raw.")
def enrich(rebuild: bool) -> None:
    """Look up the user agents and addresses of the loads so far, each once.

    A refresh does so by itself. What is told otherwise than before reaches the marts at the next refresh. Locations
    need TIDEMARK_GEOIP_DATABASE, a .mmdb file; without it --rebuild empties their table.

    Exit status 2 when a refresh is running that must not see a change.
    """
    sources = enrichment.open_sources()
    with connect(autocommit=True) as connection:
        outcomes = enrichment.enrich(connection, sources, enrichment.newest_load(connection), rebuild=rebuild)
    for outcome in outcomes:
        if outcome.version is None and not rebuild:
            click.echo(f"{outcome.kind}: left as they are, {VARIABLE} names no database")
        elif not outcome.postponed:
            click.echo(
                f"{outcome.kind}: {outcome.looked_up} looked up, {outcome.changed} new or changed, "
                f"by {outcome.version or 'nothing'}"
            )
    waiting = [outcome.kind for outcome in outcomes if outcome.postponed]
    if waiting:
        raise TidemarkError(
            f"A refresh is running, {' and '.join(waiting)} must wait: run this again when it has ended."
        )
