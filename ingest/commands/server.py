"""`python -m ingest server`: look after the embedded server, and print how to reach the server in use."""

import os
import shlex
import sys

import click

from ingest import connection
from ingest import server as embedded
from ingest.errors import TidemarkError

NOT_RUNNING = 3  # as pg_ctl status has it
# Say nothing about which server or how to log in: the user's own choice stays.
HARMLESS = {"PGAPPNAME", "PGCLIENTENCODING", "PGCONNECT_TIMEOUT", "PGOPTIONS", "PGPASSFILE"}


def _how_to_reach(command: click.Command) -> click.Command:
    command = click.option("--database", metavar="NAME", help="Another database of that server.")(command)
    return click.option(
        "--reading",
        is_flag=True,
        help="Create nothing; take the demo's database when there is no other yet.",
    )(command)


def exports(server: connection.Server, *, database_named: bool = False) -> list[str]:
    """Shell lines that make `PG*` name this server and unset what would contradict it."""
    environment = server.environment()
    others = [
        name
        for name in [*connection.variable_names().values(), "PGSERVICEFILE", "PGREQUIRESSL"]
        if name not in environment and name not in HARMLESS
    ]
    if database_named and os.environ.get("DATABASE_URL"):
        others.append("DATABASE_URL")
    lines = ["unset " + " ".join(others)] if others else []
    return lines + [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]


@click.group()
def server() -> None:
    """The embedded PostgreSQL, or the server that DATABASE_URL or PG* name.

    With DATABASE_URL, PGHOST, PGHOSTADDR or PGSERVICE set, that server is used and nothing embedded starts.
    PGDATABASE alone picks a database of the embedded one. TIDEMARK_HOME (default: .tidemark of the checkout)
    says where its files lie, TIDEMARK_PORT which port it must have.
    """


@server.command()
@click.option(
    "--port", type=click.IntRange(1024, 65535), help="Insist on this port (default: the last, or a free one)."
)
def start(port: int | None) -> None:
    """Start the embedded server and leave it running. Databases are made when something is to be written."""
    variable = connection.names_a_server()
    if variable:
        raise TidemarkError(f"{variable} names the server to use: unset it to start the embedded one.")
    before = embedded.running()
    last_port = embedded.known_port()
    running = embedded.start(port=port)
    if last_port and running.port != last_port and port is None:
        click.echo(f"Port {last_port} was taken meanwhile; the server has a new one.", err=True)
    click.echo(f"{'Already running' if before else 'Started'} on {embedded.HOST}:{running.port}")


@server.command()
def stop() -> None:
    """Stop the embedded server; open transactions are rolled back."""
    click.echo("Stopped" if embedded.stop() else "The embedded server does not run")


@server.command()
def status() -> None:
    """Say whether the server runs, where, and what it holds. Exit status 3 if it does not run."""
    variable = connection.names_a_server()
    if variable is None and embedded.running() is None:
        click.echo("running    no")
        if embedded.data_folder():
            click.echo(f"data       {embedded.data_folder()}")
        sys.exit(NOT_RUNNING)
    try:
        target = connection.resolve(reading=True, start=False)
        maintenance = target.with_database("postgres") if target.embedded else target
        with connection.connect(maintenance, autocommit=True) as link:
            version = link.execute("select current_setting('server_version')").fetchone()
            held = link.execute(
                """
                select datname, pg_catalog.pg_size_pretty(size), sum(size) over () from (
                    select datname, case when pg_catalog.has_database_privilege(datname, 'connect')
                        then pg_catalog.pg_database_size(datname) end as size
                    from pg_catalog.pg_database where not datistemplate
                ) as sizes order by datname
                """
            ).fetchall()
            total = link.execute("select pg_catalog.pg_size_pretty(%s::numeric)", [held[0][2]]).fetchone()
    except TidemarkError as error:
        click.echo(f"running    no: {error}")
        sys.exit(NOT_RUNNING)
    click.echo("running    yes")
    click.echo(f"server     {'embedded' if target.embedded else f'named by {variable}'}")
    click.echo(f"version    {version[0] if version else '?'}")
    click.echo(f"address    {target.place}")
    if target.embedded:
        click.echo(f"data       {embedded.data_folder()}")
    click.echo(f"size       {total[0] if total else '?'}")
    for name, size, _ in held:
        click.echo(f"database   {name} ({size or 'no access'})")


@server.command()
@_how_to_reach
def url(database: str | None, reading: bool) -> None:
    """Print a URL with the password, for psql and BI tools; starts the embedded server if need be."""
    click.echo(connection.resolve(database, reading=reading).url())


@server.command()
@_how_to_reach
def env(database: str | None, reading: bool) -> None:
    """Print PG* for dbt and psql: eval "$(python -m ingest server env)"."""
    target = connection.resolve(database, reading=reading)
    for line in exports(target, database_named=database is not None):
        click.echo(line)


@server.command(context_settings={"ignore_unknown_options": True})
@_how_to_reach
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(database: str | None, reading: bool, arguments: tuple[str, ...]) -> None:
    """Open psql on the server in use; what follows `--` goes to psql."""
    target = connection.resolve(database, reading=reading)
    program = embedded.psql()
    cleared = set(connection.variable_names().values()) - HARMLESS
    environment = {name: value for name, value in os.environ.items() if name not in cleared}
    os.execve(program, ["psql", *arguments], environment | target.environment())  # noqa: S606


@server.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(yes: bool) -> None:
    """Stop the embedded server and delete its data: every database on it is gone."""
    data = embedded.data_folder()
    if data is None:
        click.echo("There is no embedded server")
        return
    if not yes:
        click.confirm(f"Delete every database in {data}?", abort=True)
    embedded.remove()
    click.echo(f"Removed {data}")
