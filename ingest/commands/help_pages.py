"""`python -m ingest help-pages`: the page docs/commands.md."""

import click

from ingest.help import page


@click.command("help-pages")
@click.pass_context
def help_pages(context: click.Context) -> None:
    """Print the help of every command as one Markdown page: docs/commands.md."""
    click.echo(page(context.find_root().command), nl=False)
