"""`python -m orchestration alerts …`."""

from __future__ import annotations

import sys
from typing import Any

import click

from ingest.connection import connect, resolve
from ingest.shown import as_json, print_table, visible


@click.group()
def alerts() -> None:
    """Tell what anomalies and budgets have to say: send, list, try a channel.

    Channels are configured by the environment, routes and quiet hours by seeds: see docs/alerts.md.
    """


@alerts.command()
@click.option("--digest", is_flag=True, help="Send the digest now instead of at its hour.")
@click.option("--json", "json_line", is_flag=True, help="One JSON object.")
@click.option("--database", help="Database on the embedded server.")
def send(digest: bool, json_line: bool, database: str | None) -> None:
    """Notice what is new, and send what is due.

    Each alert goes to each of its channels once. What a channel does not take is tried again by later runs, after a
    minute, then two, then four; that is no failure of this command.
    """
    from orchestration.alerts.run import send as run_send

    done = run_send(resolve(database, reading=True), digest=digest)
    for line in done.problems():
        click.echo(visible(line), err=True)
    if json_line:
        counts = {"raised": done.raised, "worsened": done.worsened, "composed": done.composed, "sent": done.sent}
        click.echo(as_json({**counts, "problems": done.problems()}))
        return
    click.echo(
        f"{done.raised} new alerts, {done.worsened} grew worse; {done.composed} messages composed, {done.sent} sent."
    )


@alerts.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that every channel has.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Only the newest so many.")
@click.option("--json", "json_lines", is_flag=True, help="One JSON object per alert, with everything.")
@click.option("--database", help="Database on the embedded server.")
def list_alerts(everything: bool, limit: int, json_lines: bool, database: str | None) -> None:
    """List the alerts that a channel still waits for, the newest first, and messages that could not be sent."""
    from orchestration.alerts.run import listed

    with connect(resolve(database, reading=True), autocommit=True) as connection:
        found, unsent = listed(connection, everything=everything, limit=limit)
    if json_lines:
        for row in found:
            click.echo(as_json(row))
        return
    print_table(map(_row, found))
    if not found:
        click.echo("no alerts" if everything else "no alerts wait", err=True)
    for row in unsent:
        state = "given up" if row["given_up_at"] else f"next try at {row['next_attempt_at']:%Y-%m-%d %H:%M:%S}"
        line = f"{row['channel']}: {row['title']}: {row['attempts']} attempts, {state}: {row['last_error']}"
        click.echo(visible(line), err=True)


def _row(alert: dict[str, Any]) -> dict[str, Any]:
    return {
        "severity": alert["severity"],
        "alert": alert["title"],
        "from": f"{alert['first_at']:%Y-%m-%d %H:%M}",
        "resolved": f"{alert['resolved_at']:%Y-%m-%d %H:%M}" if alert["resolved_at"] else "",
        "channels": ", ".join(alert["channels"]) or "none",
    }


@alerts.command()
@click.argument("channel", required=False)
@click.option("--database", help="Database on the embedded server.")
def test(channel: str | None, database: str | None) -> None:
    """Send a message to CHANNEL, or to every channel that is configured, and say how it went."""
    from orchestration.alerts.run import send_test

    tried = send_test(resolve(database, reading=True), channel)
    for name, error in tried:
        click.echo(f"{name}: {visible(error) if error else 'sent'}", err=error is not None)
    if any(error for _, error in tried):
        sys.exit(1)
