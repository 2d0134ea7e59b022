"""`python -m ingest`: each command is imported only when it is called."""

import importlib
import sys

import click
import psycopg

from ingest.errors import TidemarkError

COMMANDS = {
    "enrich": "ingest.commands.enrich:enrich",
    "help-pages": "ingest.commands.help_pages:help_pages",
    "load": "ingest.commands.load:load",
    "migrate": "ingest.commands.migrate:migrate",
    "prices": "ingest.commands.prices:prices",
    "pull": "ingest.commands.pull:pull",
    "rejects": "ingest.commands.rejects:rejects",
    "sample": "ingest.commands.sample:sample",
    "server": "ingest.commands.server:server",
    "status": "ingest.commands.status:status",
}
HELP_WIDTH = 80


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        return getattr(importlib.import_module(module), attribute)


# One width, so that help is the same on every terminal and in docs/commands.md.
@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "terminal_width": HELP_WIDTH})
def ingest() -> None:
    """Load raw batches into the warehouse, and look after the server they go to."""


def main() -> None:
    """Run the command line; a `TidemarkError` becomes one line on standard error and status 2."""
    try:
        ingest(prog_name="python -m ingest")
    except TidemarkError as error:
        stop(str(error))
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName):
        stop("this database is not set up for this code: run `python -m ingest migrate`")
    except psycopg.errors.InsufficientPrivilege as error:
        stop(f"this login may not do that ({first_line(error)}): connect as the owner of the schema raw")
    except psycopg.OperationalError as error:
        stop(f"the server cannot go on ({first_line(error)}): see `python -m ingest server status`, then try again")


def first_line(error: psycopg.Error) -> str:
    """What the server said, in one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def stop(message: str) -> None:
    """One line on standard error, and status 2."""
    click.echo(f"Error: {message}", err=True)
    sys.exit(2)
