"""One run of the alerts: collect, compose, send. Also what was noticed, and a message to try a channel with."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Json

from ingest.connection import Server, connect
from ingest.errors import TidemarkError
from orchestration.alerts.channels import channels as configured_channels
from orchestration.alerts.collect import collect, raise_alerts
from orchestration.alerts.deliver import Attempt, compose, deliver
from orchestration.alerts.model import INFO, TEST, Alert, Message
from orchestration.alerts.rules import Rules, read_rules

LOCK = "select pg_advisory_xact_lock(hashtext('tidemark.alerts'))"

LIST = """
select
    alerts.*,
    array(
        select
            deliveries.channel || ' ' || case
                when messages.sent_at is not null then to_char(messages.sent_at at time zone 'UTC', 'MM-DD HH24:MI')
                when messages.given_up_at is not null then 'given up'
                when messages.last_error is not null then 'failing'
                when messages.message_id is not null then 'being sent'
                else 'from ' || to_char(deliveries.due_at at time zone 'UTC', 'MM-DD HH24:MI')
            end
        from ops.alert_deliveries as deliveries
        left join ops.alert_messages as messages using (message_id)
        where deliveries.alert_id = alerts.alert_id
        order by deliveries.channel
    ) as channels
from ops.alerts as alerts
where
    %(everything)s or exists (
        select from ops.alert_deliveries as deliveries
        left join ops.alert_messages as messages using (message_id)
        where deliveries.alert_id = alerts.alert_id and messages.sent_at is null
    )
order by alerts.alert_id desc
limit %(limit)s
"""

UNSENT = """
select channel, form, content ->> 'title' as title, attempts, next_attempt_at, given_up_at, last_error
from ops.alert_messages
where sent_at is null and last_error is not null
order by message_id
"""

WAITING = """
select channel, count(*) from ops.alert_deliveries
where message_id is null and due_at <= %(now)s and channel <> all(%(configured)s)
group by channel
order by channel
"""


@dataclass
class Sent:
    """What a run of the alerts did. `broken` is channel → why it cannot be used; `waiting` is channel → alerts that are
    due on a channel without configuration."""

    raised: int = 0
    worsened: int = 0
    composed: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        return sum(attempt.error is None for attempt in self.attempts)

    def problems(self) -> list[str]:
        """What an operator should read, a line each."""
        lines = [f"{name}: {why}" for name, why in self.broken.items()]
        lines += [
            f"{attempt.message.channel}: not sent{', given up' if attempt.given_up else ''}: "
            f"{attempt.message.title}: {attempt.error}"
            for attempt in self.attempts
            if attempt.error
        ]
        return lines + [
            f"{channel}: {count} due for a channel that is not configured: name it in the environment, or see "
            "seeds/alert_routes.csv"
            for channel, count in self.waiting.items()
        ]


def send(server: Server, *, digest: bool = False, rules: Rules | None = None) -> Sent:
    """Notice what is new, and send what is due. A channel that does not answer is tried again by later runs.

    Raises:
        TidemarkError: a seed of the alerts is broken, or the database was never prepared.
    """
    rules = rules or read_rules()
    found, broken = configured_channels(rules)
    done = Sent(broken=broken)
    with connect(server, autocommit=True, application_name="tidemark alerts") as connection:
        with connection.transaction():
            connection.execute(LOCK)
            now = clock(connection)
            collected = collect(connection, rules, now)
            done.raised, done.worsened = collected.raised, collected.worsened
            done.composed = compose(connection, rules, now, found, digest=digest)
        done.attempts = list(deliver(connection, rules, found))
        waiting = {"now": now, "configured": list(found)}
        done.waiting = dict(connection.execute(WAITING, waiting).fetchall())
    return done


def note(server: Server, alerts: Iterable[Alert]) -> int:
    """Keep alerts of another source, such as a failed run; the next run sends them. Returns how many are new."""
    rules = read_rules()
    with connect(server, autocommit=True) as connection, connection.transaction():
        connection.execute(LOCK)
        return raise_alerts(connection, rules, clock(connection), alerts)


def clock(connection: psycopg.Connection) -> datetime:
    """What time it is, as the warehouse has it."""
    return connection.execute("select ops.clock()").fetchone()[0]


def listed(
    connection: psycopg.Connection, *, everything: bool = False, limit: int = 50
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The alerts that a channel still waits for, or all; and the messages that could not be sent so far."""
    with connection.cursor(row_factory=dict_row) as cursor:
        alerts = cursor.execute(LIST, {"everything": everything, "limit": limit}).fetchall()
        return alerts, cursor.execute(UNSENT).fetchall()


def send_test(server: Server, name: str | None = None) -> list[tuple[str, str | None]]:
    """Send a message to one channel, or to all that are configured; returns each with what went wrong.

    Raises:
        TidemarkError: nothing is configured, or not that channel.
    """
    rules = read_rules()
    found, broken = configured_channels(rules)
    if name is not None and name not in {**found, **broken}:
        raise TidemarkError(f"The channel {name!r} is not configured: docs/alerts.md has the variables.")
    if not found and not broken:
        raise TidemarkError("No channel is configured: docs/alerts.md has the variables.")
    chosen = [channel for channel in found.values() if name in (None, channel.name)]
    tried: list[tuple[str, str | None]] = [(key, why) for key, why in broken.items() if name in (None, key)]
    with connect(server, autocommit=True) as connection:
        for channel in chosen:
            row = _test_row(connection)
            content = {"title": "Test of the channel", "severity": INFO, "alerts": [row]}
            message = Message(0, uuid.uuid4(), channel.name, TEST, content["title"], INFO, [row])
            errors = [error for recipient in channel.recipients if (error := channel.send(message, recipient))]
            _log_test(connection, message, content, errors)
            tried.append((channel.name, "; ".join(errors) or None))
    return tried


def _test_row(connection: psycopg.Connection) -> Mapping[str, Any]:
    at = clock(connection).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        **{"alert_key": str(uuid.uuid4()), "source": "run", "kind": "test", "rule": "test", "scope": ""},
        **{"severity": INFO, "title": "This channel works", "details": {}},
        **{"explanation": "Somebody asked for a test; nothing is wrong", "first_at": at, "until": at},
        "resolved_at": None,
    }


def _log_test(connection: psycopg.Connection, message: Message, content: Mapping[str, Any], errors: list[str]) -> None:
    connection.execute(
        """
        insert into ops.alert_messages (
            idempotency_key, channel, form, content, attempts, sent_at, given_up_at, last_error
        )
        values (
            %(key)s, %(channel)s, 'test', %(content)s, 1,
            case when %(error)s::text is null then clock_timestamp() end,
            case when %(error)s::text is not null then clock_timestamp() end, %(error)s
        )
        """,
        {
            "key": message.idempotency_key,
            "channel": message.channel,
            "content": Json(dict(content)),
            "error": "; ".join(errors) or None,
        },
    )
