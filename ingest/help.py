"""The help of every command as one Markdown page."""

from collections.abc import Iterator

import click

PROGRAM = "python -m ingest"
HEAD = f"""# Commands

What `--help` prints for each command, written by `{PROGRAM} help-pages > docs/commands.md`. `make help` lists the
commands beside these.
"""


def contexts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A context for a command and, in order of name, for everything below it."""
    context = click.Context(command, parent, name, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for below in sorted(command.list_commands(context)):
            found = command.get_command(context, below)
            if found is not None and not found.hidden:
                yield from contexts(found, below, context)


def page(root: click.Command) -> str:
    """The Markdown page of a program's help."""
    parts = [
        f"## {context.command_path}\n\n```text\n{context.get_help()}\n```\n" for context in contexts(root, PROGRAM)
    ]
    return "\n".join((HEAD, *parts))
