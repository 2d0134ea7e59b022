"""What an alert is, and what a message says of some."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

INFO, WARNING, CRITICAL = SEVERITIES = ("info", "warning", "critical")
AT_ONCE, AFTER_QUIET_HOURS, DIGEST, NEVER = DELIVERIES = ("at_once", "after_quiet_hours", "digest", "never")
SINGLE, GROUP, DAILY_DIGEST, TEST = "single", "group", "digest", "test"
BUDGET_KIND, RUN_KIND = "budget", "run_failure"
NAMESPACE = uuid.UUID("9d1c5c3e-6f0e-5d0a-9c55-2f6d7b1f3c11")


@dataclass(frozen=True)
class Alert:
    """Something to tell. `first_at` up to, without, `until` is when it was so; `details` is shown as name and value."""

    source: str
    kind: str
    rule: str
    scope: str
    first_at: datetime
    until: datetime
    severity: str
    title: str
    explanation: str
    details: Mapping[str, Any] = field(default_factory=dict)
    resolved_at: datetime | None = None

    @property
    def key(self) -> uuid.UUID:
        """The same for the same source, rule, scope and first instant."""
        return stable_key(self.source, self.rule, self.scope, self.first_at.timestamp())


@dataclass(frozen=True)
class Message:
    """What a channel is to send: the alerts as they were when it was composed, each as in `alert_document`."""

    message_id: int
    idempotency_key: uuid.UUID
    channel: str
    form: str
    title: str
    severity: str
    alerts: Sequence[Mapping[str, Any]]
    delivered_to: Sequence[str] = ()


def stable_key(*parts: object) -> uuid.UUID:
    """A key that depends on the parts and nothing else."""
    return uuid.uuid5(NAMESPACE, "\x1f".join(map(str, parts)))


def worst(severities: Sequence[str]) -> str:
    """The gravest of some severities; info of none."""
    return max(severities, key=SEVERITIES.index, default=INFO)
