"""`python -m orchestration export …`."""

from __future__ import annotations

from pathlib import Path

import click

from ingest.connection import resolve
from ingest.shown import as_json, print_table


@click.command()
@click.argument("marts", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every mart.")
@click.option("--include-insights", is_flag=True, help="Anomalies, forecasts and recommendations too.")
@click.option(
    "--format", "form", type=click.Choice(["json", "csv", "parquet"]), default="json", show_default=True,
    help="Of the files; parquet needs pip install 'tidemark[parquet]'.",
)  # fmt: skip
@click.option("--month", metavar="MONTH", help="As in 2026-03. Without a period, the month before this one.")
@click.option("--period", "days", metavar="DAYS", help="Whole days before today, as in 30d.")
@click.option("--from", "first", metavar="DAY", help="First UTC day.")
@click.option("--to", "last", metavar="DAY", help="Last UTC day; it is exported too.")
@click.option("--by", metavar="COLUMN", help="The date or time a period is told by, where it is not the first one.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder that gets the export's folder.")
@click.option("--replace", is_flag=True, help="Replace an export of that period and format.")
@click.option("--json", "json_line", is_flag=True, help="Print the manifest's files as one JSON object.")
@click.option("--database", help="Database on the embedded server.")
def export(
    marts: tuple[str, ...],
    everything: bool,
    include_insights: bool,
    form: str,
    month: str | None,
    days: str | None,
    first: str | None,
    last: str | None,
    by: str | None,
    out: Path | None,
    replace: bool,
    json_line: bool,
    database: str | None,
) -> None:
    """Write MARTS for a period to files, with a manifest of rows and checksums.

    All marts are of one moment. The folder appears when everything in it is written. A mart that knows no time is
    written whole.
    """
    from orchestration.exports.run import Request
    from orchestration.exports.run import export as run_export

    request = Request(marts, everything, include_insights, form, by, month, days, first, last, replace)
    done = run_export(resolve(database, reading=True), request, out)
    if json_line:
        files = [{name: getattr(file, name) for name in ("mart", "file", "rows", "sha256")} for file in done.files]
        click.echo(as_json({"folder": str(done.folder), "files": files}))
        return
    print_table(
        {"mart": file.mart, "rows": file.rows, "bytes": file.bytes, "by": file.period_column or "whole"}
        for file in done.files
    )
    click.echo(f"{done.period.first} to {done.period.last}: {done.folder}")
