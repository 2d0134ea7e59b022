"""`python -m ingest migrate`."""

import json

import click

from ingest import connection
from ingest import migrate as migrations


@click.command()
@click.option("--database", metavar="NAME", help="Another database of the server in use.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def migrate(database: str | None, as_json: bool) -> None:
    """Bring the schemas raw, history and ops, the roles and the partitions up to date."""
    target = connection.resolve(database)
    with connection.connect(target) as link:
        applied = migrations.migrate(link)
    if as_json:
        click.echo(json.dumps({"database": target.database, "applied": applied}))
        return
    for label in applied:
        click.echo(f"applied {label}")
    if not applied:
        click.echo(f"{target.database} is up to date")
