"""`python -m orchestration`: what the Makefile calls."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table

from ingest.connection import Server, connect, resolve
from ingest.errors import TidemarkError
from orchestration.alerts.command import alerts
from orchestration.exports.command import export
from orchestration.privacy_command import privacy


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def orchestration() -> None:
    """Bring the marts up to date, and see how far they are."""


orchestration.add_command(alerts)
orchestration.add_command(export)


@orchestration.command()
@click.option("--target", default="prod", show_default=True, help="prod, or dev: your own schemas beside production.")
@click.option("--database", help="Database on the embedded server.")
@click.option("--inbox/--no-inbox", default=True, show_default=True, help="First load what lies in the inbox.")
@click.option("--check-all", is_flag=True, help="Run every test, those that read all of history included.")
@click.option("--quiet", is_flag=True, help="Print only failures and the outcome.")
def refresh(target: str, database: str | None, inbox: bool, check_all: bool, quiet: bool) -> None:
    """Load the inbox, then build every model to the last load and test it."""
    from ingest.inbox import inbox_folder, ingest_inbox
    from ingest.load import FAILED
    from ingest.migrate import migrate
    from orchestration.refresh import refresh as run_refresh

    server = resolve(database)
    broken = 0
    with connect(server, autocommit=True) as connection:
        migrate(connection)
        if inbox and target == "prod":
            for result in ingest_inbox(connection, inbox_folder()):
                broken += result.status == FAILED
                outcome = result.error or f"{result.loaded} rows, {result.rejected} rejected"
                click.echo(f"{result.status}: {result.file}: {outcome}", err=result.status == FAILED)
    run = run_refresh(server, target, quiet=quiet, check_all=check_all)
    click.echo(
        f"Refresh {run.refresh_id} of {run.target}: loads up to {run.to_seq}, as of {run.as_of:%Y-%m-%d %H:%M} UTC, "
        f"{run.touched_groups} session groups touched, {len(run.rebuilt)} models built whole, "
        f"{len(run.tests_failed)} tests failed."
    )
    if run.tests_failed:
        click.echo(f"Failed tests: {', '.join(run.tests_failed)}", err=True)
    if broken:
        click.echo(f"{broken} files of the inbox could not be loaded: see `failed/` in it.", err=True)
    if run.tests_failed or broken:
        sys.exit(1)


@orchestration.command()
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option(
    "--rule", help="Rule of seeds/anomaly_rules.csv that judges; unless told the one docs/anomalies.md names."
)
def evaluate_anomalies(data: Path | None, rule: str | None) -> None:
    """Judge the labelled series in DATA (a folder with windows.json) and print what was found."""
    from orchestration.evaluate_anomalies import DEFAULT_DATA, RULE, evaluate

    folder = data or DEFAULT_DATA
    if not (folder / "windows.json").is_file():
        click.echo(f"No labelled series in {folder} (windows.json is not there): nothing is evaluated.")
        return
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    evaluate(folder, rule or RULE, console.print)


@orchestration.command()
@click.option("--from", "first", metavar="DAY", help="First UTC day, as in 2026-03-01.")
@click.option("--to", "last", metavar="DAY", help="Last UTC day; it is replayed too.")
@click.option("--target", default="prod", show_default=True, help="prod, or dev: your own schemas beside production.")
@click.option("--database", help="Database on the embedded server.")
@click.option("--quiet", is_flag=True, help="Print only failures and the outcome.")
def replay(first: str | None, last: str | None, target: str, database: str | None, quiet: bool) -> None:
    """Re-process a range of days, both ends included.

    Every session with anything received or done on those UTC days is made anew from raw, and so are the days
    themselves and their visitors; what else there is stays as it is. It is a refresh: loads that came since are
    taken up too, but nothing is fetched from the inbox. Days before the horizon are closed.
    """
    from ingest.migrate import migrate
    from orchestration.refresh import refresh as run_refresh
    from orchestration.replay import days_between

    days = days_between(first, last)
    server = resolve(database)
    with connect(server, autocommit=True) as connection:
        migrate(connection)
    run = run_refresh(server, target, quiet=quiet, days=days)
    click.echo(
        f"Replay of {days.first} to {days.last}, refresh {run.refresh_id} of {run.target}: "
        f"{run.touched_groups} session groups re-processed, {len(run.rebuilt)} models built whole, "
        f"{len(run.tests_failed)} tests failed."
    )
    if run.tests_failed:
        click.echo(f"Failed tests: {', '.join(run.tests_failed)}", err=True)
        sys.exit(1)


@orchestration.command()
@click.option("--database", help="Database on the embedded server.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(database: str | None, as_json: bool) -> None:
    """Lag, mark, lock, last refreshes, and why one is stuck."""
    from orchestration.status import status as read_status

    server = resolve(database, reading=True)
    with connect(server, autocommit=True) as connection:
        found = read_status(connection)
    if as_json:
        click.echo(json.dumps(found, default=str))
        return
    console = Console(width=None if sys.stdout.isatty() else 140)
    for title, rows in (
        ("Marks", found["marks"]),
        ("Last refreshes", [_refresh_row(row) for row in found["refreshes"]]),
        ("Waiting for a lock", found["waiting"]),
    ):
        if not rows:
            continue
        table = Table(title=title, title_justify="left")
        for name in rows[0]:
            table.add_column(name.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*["" if value is None else _short(value) for value in row.values()])
        console.print(table)
    for row in found["refreshes"]:
        if row["error"]:
            console.print(f"Refresh {row['refresh_id']}: {row['error']}", highlight=False, markup=False)


def _refresh_row(row: dict[str, Any]) -> dict[str, Any]:
    ended = row["completed_at"] or row["failed_at"]
    return {
        "refresh": row["refresh_id"],
        "target": row["target"],
        "state": row["state"] if row["state"] == "complete" else f"{row['state']} at {row['phase']}",
        "started": row["started_at"],
        "seconds": round((ended - row["started_at"]).total_seconds(), 1) if ended else None,
        "loads": f"{row['from_seq'] + 1}–{row['to_seq']}" if row["to_seq"] > row["from_seq"] else "none new",
        "groups": row["touched"],
        "built whole": row["rebuilt"],
        "tests failed": row["tests_failed"],
        "by": f"{row['host']}:{row['pid']}",
    }


@orchestration.command()
@click.option(
    "--before",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    help="The first day that stays open, UTC.",
)
@click.option("--database", help="Database on the embedded server.")
def purge(before: datetime, database: str | None) -> None:
    """Close every day before a day: its raw rows go, what is to outlive them stays."""
    from orchestration.purge import purge as run_purge

    done = run_purge(resolve(database), before.date())
    click.echo(
        f"Days before {done.horizon:%Y-%m-%d} are closed: {done.closed_visits} visits kept in history, "
        f"{done.carried_rows} raw rows carried on for visits that are still open, "
        f"{len(done.partitions)} raw partitions dropped."
    )
    click.echo("The next refresh takes the events and page views of those days out of the marts.")


@orchestration.command()
@click.option("--dry-run", is_flag=True, help="Say what would go, rows and bytes, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per step.")
@click.option("--database", help="Database on the embedded server.")
def retention(dry_run: bool, as_json: bool, database: str | None) -> None:
    """Take away what is over its age, by the seed `retention_policies`."""
    from ingest.migrate import migrate
    from ingest.shown import as_json as encoded
    from ingest.shown import print_table
    from orchestration.retention import retention as run_retention

    server = resolve(database)
    with connect(server, autocommit=True) as connection:
        migrate(connection)
    done = run_retention(server, dry_run=dry_run)
    rows = [
        {
            "class": step.record_class,
            "action": step.action,
            "relation": step.relation,
            "before": step.before,
            "rows": step.rows,
            "bytes": step.bytes,
        }
        for step in done.steps
    ]
    if as_json:
        for row in rows:
            click.echo(encoded(row))
        return
    print_table(rows)
    if not rows:
        click.echo(f"Nothing is over its age on {done.day}.", err=True)
    elif dry_run:
        click.echo("Nothing was changed.", err=True)
    else:
        click.echo("The next refresh takes it out of the marts.", err=True)


@orchestration.group(invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Also those accepted or dismissed.")
@click.option("--evidence", is_flag=True, help="With the numbers they rest on.")
@click.option("--json", "json_lines", is_flag=True, help="One JSON object per line, with everything.")
@click.option("--database", help="Database on the embedded server.")
@click.pass_context
def recommendations(
    context: click.Context, everything: bool, evidence: bool, json_lines: bool, database: str | None
) -> None:
    """List what the warehouse recommends, the most pressing first, and keep what is decided on it.

    A KEY may be cut short as long as it still means one recommendation.
    """
    server = context.obj = resolve(database, reading=True)
    if context.invoked_subcommand is not None:
        return
    from ingest.shown import as_json as encoded
    from ingest.shown import print_table
    from orchestration.recommendations import recommendations as read_recommendations

    with connect(server, autocommit=True) as connection:
        found = read_recommendations(connection, everything)
    if json_lines:
        for row in found:
            click.echo(encoded(row))
        return
    print_table([_recommendation_row(row, everything, evidence) for row in found])
    if not found:
        click.echo("no recommendations", err=True)


def _recommendation_row(row: dict[str, Any], everything: bool, evidence: bool) -> dict[str, Any]:
    shown = {
        "key": str(row["recommendation_key"])[:8],
        "priority": row["priority"],
        "rule": row["rule"],
        "what to do": row["title"],
        "app": row["app_id"],
        "saving_usd": row["estimated_saving_usd"],
        "since": f"{row['first_seen_at']:%Y-%m-%d}" if row["first_seen_at"] else None,
    }
    if everything:
        shown |= {"state": row["state"], "by": row["decided_by"], "note": row["note"]}
    if evidence:
        shown["evidence"] = ", ".join(f"{name} {value}" for name, value in row["evidence"].items())
    return shown


@recommendations.command()
@click.argument("key", metavar="KEY")
@click.option("--note", metavar="TEXT", help="Why; kept with the decision.")
@click.pass_obj
def accept(server: Server, key: str, note: str | None) -> None:
    """Keep that a recommendation was accepted."""
    _decide(server, key, "accepted", note)


@recommendations.command()
@click.argument("key", metavar="KEY")
@click.option("--note", metavar="TEXT", help="Why; kept with the decision.")
@click.pass_obj
def dismiss(server: Server, key: str, note: str | None) -> None:
    """Keep that a recommendation was dismissed: it is no longer listed, whatever later runs say."""
    _decide(server, key, "dismissed", note)


@recommendations.command()
@click.argument("key", metavar="KEY")
@click.option("--note", metavar="TEXT", help="Why; kept with the decision.")
@click.pass_obj
def reopen(server: Server, key: str, note: str | None) -> None:
    """Take a decision back."""
    _decide(server, key, "open", note)


def _decide(server: Server, key: str, state: str, note: str | None) -> None:
    from orchestration.recommendations import decide

    with connect(server, autocommit=True) as connection:
        done = decide(connection, key, state, note)
    click.echo(f"{state}: {done['title']} ({done['recommendation_key']})")


orchestration.add_command(privacy)


@orchestration.command()
def demo() -> None:
    """Sample data in, every model built, the answers printed."""
    from orchestration.demo import demo as run_demo

    run_demo()


@orchestration.command()
@click.option("--database", help="Database on the embedded server.")
@click.option("--port", type=int, help="Port of the UI [default: 3000, or a free one].")
def dev(database: str | None, port: int | None) -> None:
    """The Dagster UI on this machine."""
    from orchestration.dev import dev as run_dev

    sys.exit(run_dev(port=port, database=database))


def _short(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else str(value)


def main() -> None:
    """Run the command line; a `TidemarkError` becomes one line on standard error and status 2."""
    try:
        orchestration(prog_name="python -m orchestration")
    except TidemarkError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        click.echo(
            "Error: This database was never prepared: run `make refresh` or `python -m ingest migrate`.", err=True
        )
        sys.exit(2)
    except psycopg.errors.InsufficientPrivilege as error:
        click.echo(f"Error: This login may not do that: {str(error).splitlines()[0]}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
