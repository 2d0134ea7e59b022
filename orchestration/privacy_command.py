"""`python -m orchestration privacy`: what a person may ask for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from ingest.connection import Server, connect, resolve


@click.group()
@click.option("--database", help="Database on the embedded server.")
@click.pass_context
def privacy(context: click.Context, database: str | None) -> None:
    """Erase a person, export what is kept of one, opt one out or in, or answer the requests that were loaded."""
    from ingest.migrate import migrate

    server = context.obj = resolve(database)
    with connect(server, autocommit=True) as connection:
        migrate(connection)


def of_a_person(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say who is meant."""
    for option in (
        click.option("--email", metavar="ADDRESS", help="E-mail address: all users it was told for."),
        click.option("--anonymous-id", metavar="ID", help="Anonymous id, and with it the user who signed in under it."),
        click.option("--user-id", metavar="ID", help="User id, with all anonymous ids that became this user."),
    ):
        command = option(command)
    return command


def subject(user_id: str | None, anonymous_id: str | None, email: str | None) -> Any:
    from orchestration.privacy import Subject

    return Subject(user_id, anonymous_id, email)


@privacy.command()
@of_a_person
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def erase(server: Server, user_id: str | None, anonymous_id: str | None, email: str | None, yes: bool) -> None:
    """Erase a person for good: raw, history, marts, rejects, the inbox's files and exports.

    Ids become one random token and free text goes, so that totals and costs stay. Later records of the person are
    refused. Schemas of dev targets are dropped. It refreshes the marts, and can be stopped: the next privacy command
    finishes it.
    """
    from orchestration.privacy import erase as run_erase

    who = subject(user_id, anonymous_id, email)
    if not yes:
        click.confirm("There is no way back. Erase this person?", abort=True, err=True)
    _show(run_erase(server, who))


@privacy.command()
@of_a_person
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder [default: exports/privacy].")
@click.pass_obj
def export(server: Server, user_id: str | None, anonymous_id: str | None, email: str | None, out: Path | None) -> None:
    """Write all that is kept of a person as JSON and CSV, in a new folder."""
    from orchestration.privacy import export as run_export

    bundle = run_export(server, subject(user_id, anonymous_id, email), out)
    click.echo(f"{sum(bundle.rows.values())} rows of {len(bundle.rows)} relations: {bundle.folder}")


@privacy.command()
@of_a_person
@click.option("--at", type=click.DateTime(), help="From when on, UTC [default: now].")
@click.pass_obj
def opt_out(
    server: Server, user_id: str | None, anonymous_id: str | None, email: str | None, at: datetime | None
) -> None:
    """Count nothing a person does from now on; the next refresh takes it out of the marts."""
    from orchestration.privacy import opt_out as run_opt_out

    _show(run_opt_out(server, subject(user_id, anonymous_id, email), at=_utc(at)))


@privacy.command()
@of_a_person
@click.option("--at", type=click.DateTime(), help="From when on, UTC [default: now].")
@click.pass_obj
def opt_in(
    server: Server, user_id: str | None, anonymous_id: str | None, email: str | None, at: datetime | None
) -> None:
    """Count a person again; of one who was erased, take new records again."""
    from orchestration.privacy import opt_in as run_opt_in

    _show(run_opt_in(server, subject(user_id, anonymous_id, email), at=_utc(at)))


@privacy.command()
@click.option(
    "--type", "types", multiple=True, help="erase, export, opt_out or opt_in; may be repeated [default: all]."
)
@click.option("--most", type=click.IntRange(min=1), help="Answer so many at most.")
@click.option("--dry-run", is_flag=True, help="Only say which are waiting.")
@click.pass_obj
def answer(server: Server, types: tuple[str, ...], most: int | None, dry_run: bool) -> None:
    """Answer the requests of the stream privacy_requests that are not answered yet, oldest first."""
    from orchestration.privacy import answer_requests
    from orchestration.privacy.requests import TYPES

    answers = answer_requests(server, types or TYPES, most=most, dry_run=dry_run)
    for one in answers:
        state = "waits" if dry_run else f"not answered: {one.problem}" if one.problem else "answered"
        click.echo(f"{one.content_hash} {one.request_type}: {state}")
    if not answers:
        click.echo("no request waits", err=True)


@privacy.command()
@click.option("--days", type=click.IntRange(min=0), help="Older than so many days [default: seed privacy_settings].")
@click.pass_obj
def truncate_addresses(server: Server, days: int | None) -> None:
    """Cut the IP addresses of old events to their networks, /24 and /48."""
    from orchestration.privacy import truncate_addresses as run_truncate

    click.echo(f"{run_truncate(server, days)} addresses cut")


@privacy.command()
@click.pass_obj
def resume(server: Server) -> None:
    """Finish erasures that were stopped half-way."""
    from orchestration.privacy import resume as run_resume

    for certificate in run_resume(server):
        _show(certificate)


def _show(certificate: Any) -> None:
    counts = ", ".join(f"{name} {amount}" for name, amount in sorted(certificate.counts.items()) if amount)
    click.echo(f"Certificate {certificate.certificate_id}, {certificate.action}: {counts or 'nothing was found'}")


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=timezone.utc) if at else None
