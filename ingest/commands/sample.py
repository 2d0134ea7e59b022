"""`python -m ingest sample`: write sample data whose answers are known."""

from pathlib import Path

import click

from ingest.sample import write_sample


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="A new or an empty folder.")
@click.option("--seed", default=7, show_default=True, help="Another seed, another history.")
@click.option("--days", default=35, show_default=True, help="How many days, the last being 2026-03-31.")
@click.option(
    "--visitors",
    default=400,
    show_default=True,
    help="People who use the web app; half as many each use the chat widget and the launch funnel.",
)
def sample(out: Path, seed: int, days: int, visitors: int) -> None:
    """Write sample data of a made-up company, with known answers.

    DIR gets a folder for each of the six streams, with files by the day they were delivered, in the
    formats the producers send: flush snapshots, duplicates, late files, bad lines and all. DIR/truth.json
    tells what really happened, per app and day, and lists three incidents planted in the last week.

    The same options always write the same bytes. "Now" is 2026-04-01T00:00:00Z.
    """
    truth = write_sample(out, seed, days, visitors)
    lines = sum(truth["records"].values())
    click.echo(
        f"{lines} records from {truth['first_day']} to {truth['last_day']} in {out}; answers in {out / 'truth.json'}"
    )
