"""`python -m ingest`: each command is imported only when it is called."""

import importlib
import sys

import click

from ingest.errors import TidemarkError

COMMANDS = {
    "enrich": "ingest.commands.enrich:enrich",
    "load": "ingest.commands.load:load",
    "migrate": "ingest.commands.migrate:migrate",
    "sample": "ingest.commands.sample:sample",
    "server": "ingest.commands.server:server",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        return getattr(importlib.import_module(module), attribute)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def ingest() -> None:
    """Load raw batches into the warehouse, and look after the server they go to."""


def main() -> None:
    """Run the command line; a `TidemarkError` becomes one line on standard error and status 2."""
    try:
        ingest(prog_name="python -m ingest")
    except TidemarkError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
