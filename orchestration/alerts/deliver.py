"""From `ops.alert_deliveries` to the channels: compose messages, claim, send, record."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Json

from orchestration.alerts import render
from orchestration.alerts.channels import Channel
from orchestration.alerts.model import DAILY_DIGEST, DIGEST, GROUP, SINGLE, Message, stable_key
from orchestration.alerts.rules import Rules

DUE = """
select alerts.*, deliveries.delivery, alerts.raised_at < %(old)s as is_old
from ops.alert_deliveries as deliveries
inner join ops.alerts as alerts using (alert_id)
where
    deliveries.channel = %(channel)s and deliveries.message_id is null
    and (deliveries.due_at <= %(now)s or (%(digest)s and deliveries.delivery = 'digest'))
order by alerts.alert_id
"""

# A channel that fails is asked with one message until it answers: the others wait, and are grouped then.
IS_FAILING = """
select exists (
    select from ops.alert_messages
    where
        channel = %(channel)s and sent_at is null and given_up_at is null and last_error is not null
        and attempts < %(blocking)s
)
"""

COMPOSE = """
insert into ops.alert_messages (idempotency_key, channel, form, content)
values (%(key)s, %(channel)s, %(form)s, %(content)s)
on conflict (idempotency_key) do nothing
returning message_id
"""

CLAIM = """
update ops.alert_messages
set
    claimed_by = %(by)s, claimed_until = clock_timestamp() + %(seconds)s * interval '1 second', attempts = attempts + 1
where message_id = (
    select message_id from ops.alert_messages
    where
        channel = any(%(channels)s) and sent_at is null and given_up_at is null
        and next_attempt_at <= clock_timestamp()
        and (claimed_until is null or claimed_until < clock_timestamp())
    order by message_id
    limit 1
    for update skip locked
)
returning message_id, idempotency_key, channel, form, content, attempts, delivered_to
"""

SENT = """
update ops.alert_messages
set sent_at = clock_timestamp(), claimed_until = null, last_error = null
where message_id = %(message_id)s and sent_at is null
"""

REACHED = "update ops.alert_messages set delivered_to = array_append(delivered_to, %s) where message_id = %s"

FAILED = """
update ops.alert_messages
set
    last_error = %(error)s,
    claimed_until = null,
    next_attempt_at = clock_timestamp()
        + least(%(first)s * power(2, least(attempts, 30) - 1), %(longest)s) * interval '1 second',
    given_up_at = case
        when composed_at < clock_timestamp() - %(hours)s * interval '1 hour' then clock_timestamp()
    end
where message_id = %(message_id)s and claimed_by = %(by)s and sent_at is null
returning given_up_at is not null
"""


@dataclass(frozen=True)
class Attempt:
    """How sending a message went; `error` is None where it was taken."""

    message: Message
    error: str | None
    given_up: bool = False


def compose(
    connection: psycopg.Connection, rules: Rules, now: datetime, channels: Collection[str], *, digest: bool = False
) -> int:
    """Make messages of what is due on the channels; returns how many. `digest` does not wait for the digest's hour.

    Belongs in a transaction that holds the lock of the alerts.
    """
    composed = 0
    for channel in sorted(channels):
        asked = {"channel": channel, "blocking": rules.number("blocking_attempts")}
        if connection.execute(IS_FAILING, asked).fetchone() == (True,):
            continue
        old = now - timedelta(hours=rules.number("give_up_hours"))
        with connection.cursor(row_factory=dict_row) as cursor:
            due = cursor.execute(DUE, {"channel": channel, "now": now, "old": old, "digest": digest}).fetchall()
        for form, rows in forms(due, rules.habits[channel].group_from):
            composed += _keep(connection, channel, form, rows)
    return composed


def forms(due: Sequence[Mapping[str, Any]], group_from: int | None) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """How rows that are due go into messages: the digest, a group, or each by itself."""
    # What waited for a channel until it was old is no news.
    for_digest = [row for row in due if row["delivery"] == DIGEST or row["is_old"]]
    others = [row for row in due if row not in for_digest]
    if for_digest:
        yield DAILY_DIGEST, for_digest
    if group_from is not None and len(others) >= group_from:
        yield GROUP, others
    else:
        for row in others:
            yield SINGLE, [row]


def _keep(connection: psycopg.Connection, channel: str, form: str, rows: Sequence[Mapping[str, Any]]) -> int:
    alerts = render.gravest_first([render.alert_document(row) for row in rows])
    key = stable_key(channel, form, *sorted(alert["alert_key"] for alert in alerts))
    content = {"title": render.title_of(form, alerts), "severity": render.severity_of(alerts), "alerts": alerts}
    kept = connection.execute(
        COMPOSE, {"key": key, "channel": channel, "form": form, "content": Json(content)}
    ).fetchone()
    if kept is None:
        return 0
    connection.execute(
        "update ops.alert_deliveries set message_id = %s where channel = %s and alert_id = any(%s)",
        [kept[0], channel, [row["alert_id"] for row in rows]],
    )
    return 1


def deliver(connection: psycopg.Connection, rules: Rules, channels: Mapping[str, Channel]) -> Iterator[Attempt]:
    """Send what waits to be sent, each message once. `connection` is in autocommit.

    A claim is committed before the channel is called, and what came of it after: a sender that is killed in between
    leaves a claim that expires, and the message goes out again under the same idempotency key.
    """
    by = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    claim = {"by": by, "seconds": rules.number("claim_seconds"), "channels": sorted(channels)}
    while True:
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(CLAIM, claim).fetchone()
        if row is None:
            return
        content = row["content"]
        message = Message(
            row["message_id"],
            row["idempotency_key"],
            row["channel"],
            row["form"],
            content["title"],
            content["severity"],
            content["alerts"],
            row["delivered_to"],
        )
        error = _send(connection, channels[message.channel], message)
        if error is None:
            connection.execute(SENT, {"message_id": message.message_id})
            yield Attempt(message, None)
        else:
            told = {
                "message_id": message.message_id,
                "by": by,
                "error": error,
                "first": rules.number("first_retry_seconds"),
                "longest": rules.number("longest_retry_seconds"),
                "hours": rules.number("give_up_hours"),
            }
            ended = connection.execute(FAILED, told).fetchone()
            yield Attempt(message, error, given_up=ended == (True,))


def _send(connection: psycopg.Connection, channel: Channel, message: Message) -> str | None:
    """Send to every recipient who has not got it yet; returns the last error."""
    error = None
    for recipient in channel.recipients:
        if recipient in message.delivered_to:
            continue
        try:
            failed = channel.send(message, recipient)
        except Exception as problem:  # a channel never stops the others
            failed = f"{type(problem).__name__}: {' '.join(str(problem).split())}"[:500]
        if failed is None:
            if len(channel.recipients) > 1:
                connection.execute(REACHED, [recipient, message.message_id])
        else:
            error = failed
    return error
