"""`python -m ingest prices`: the price list as seeds."""

from importlib.metadata import version
from pathlib import Path

import click

from ingest.prices import SEEDS, write_seeds


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=SEEDS,
    show_default="the checkout's seeds",
    help="Where the seeds go.",
)
def prices(folder: Path) -> None:
    """Write the price list of the installed package genai-prices to the seeds.

    Review the difference, then refresh: the requests it covers are priced anew, and no others. Names and prices of
    your own, and discounts, go into seeds/llm_price_overrides.csv, which this command leaves alone.
    """
    changed = write_seeds(folder)
    for path in changed:
        click.echo(f"wrote {path}")
    if not changed:
        click.echo(f"nothing changed: the seeds are those of genai-prices {version('genai-prices')}")
