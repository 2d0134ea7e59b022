"""Addresses of events are cut to their networks when they are old enough."""

from __future__ import annotations

import csv
from pathlib import Path

from ingest.connection import Server
from ingest.errors import TidemarkError
from orchestration.privacy.erasure import WAIT_SECONDS, one_at_a_time
from orchestration.refresh import PROJECT_FOLDER

SEED = "privacy_settings"


def setting(name: str) -> int:
    """A whole number of the seed privacy_settings.

    Raises:
        TidemarkError: the seed does not have it, or it is no whole number.
    """
    path = Path(PROJECT_FOLDER) / "seeds" / f"{SEED}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            if row.get("setting") == name:
                try:
                    return int(row["value"])
                except (TypeError, ValueError):
                    raise TidemarkError(f"{path}, line {line}: {name} needs a whole number of days.") from None
    raise TidemarkError(f"{path}: {name} is missing.")


def truncate_addresses(server: Server, days: int | None = None, *, wait_seconds: float = WAIT_SECONDS) -> int:
    """Cut the addresses of events received more than so many days ago to /24, IPv6 to /48; how many rows.

    Marts show the place of the network alone, so nothing in them changes. What was cut before is not read again.
    """
    days = setting("address_days") if days is None else days
    if days < 0:
        raise TidemarkError("Days are not negative.")
    with one_at_a_time(server, wait_seconds) as connection, connection.transaction():
        since, until = connection.execute(
            """
            select
                received_before::text,
                greatest(received_before, date_trunc('day', ops.clock(), 'UTC') - make_interval(days => %s))::text
            from ops.truncated_addresses for update
            """,
            [days],
        ).fetchone()
        changed = connection.execute(
            """
            update raw.events set ip_address = ops.ip_network(ip_address)
            where received_at >= %s and received_at < %s
                and ip_address is not null and ip_address <> ops.ip_network(ip_address)
            """,
            [since, until],
        ).rowcount
        if until != since:
            connection.execute("update ops.truncated_addresses set received_before = %s", [until])
        if changed:
            connection.execute(
                """
                insert into ops.privacy_certificates (action, counts, finished_at)
                values ('truncate_addresses', jsonb_build_object('raw.events', %s::bigint), clock_timestamp())
                """,
                [changed],
            )
        return changed
