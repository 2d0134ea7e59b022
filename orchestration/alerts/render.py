"""How a message reads: as text, as Slack shows it, as an HTML e-mail, as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from typing import Any

from orchestration.alerts.model import DAILY_DIGEST, SEVERITIES, SINGLE, TEST, Message, worst

Document = Mapping[str, Any]

COLOURS = {"critical": "#b3261e", "warning": "#9a6700", "info": "#3b6ea5"}
# What Markdown would take for more than text: a link, emphasis. Names with underscores stay readable in Slack.
OF_MARKDOWN = re.compile(r"([\\`*{}\[\]()#+!|~])")


def alert_document(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `ops.alerts` as messages and webhooks have it; times are ISO 8601 in UTC."""
    names = ("source", "kind", "rule", "scope", "severity", "title", "explanation", "details")
    return {
        "alert_key": str(row["alert_key"]),
        **{name: row[name] for name in names},
        **{name: _iso(row[name]) for name in ("first_at", "until", "resolved_at")},
    }


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def title_of(form: str, alerts: Sequence[Document]) -> str:
    """The headline of a message of some form on some alerts."""
    if form == SINGLE:
        (alert,) = alerts
        return f"{alert['severity'].capitalize()}: {alert['title']}"
    if form == TEST:
        return "Test of the channel"
    counts = [
        f"{count} {severity}"
        for severity in reversed(SEVERITIES)
        if (count := sum(alert["severity"] == severity for alert in alerts))
    ]
    head = "Daily digest" if form == DAILY_DIGEST else "Several at once"
    return f"{head}: {len(alerts)} alert{'s'[: len(alerts) != 1]} ({', '.join(counts)})"


def gravest_first(alerts: Sequence[Document]) -> list[Document]:
    """Critical before warning, then the latest."""
    latest = sorted(alerts, key=lambda alert: (alert["first_at"], alert["alert_key"]), reverse=True)
    return sorted(latest, key=lambda alert: -SEVERITIES.index(alert["severity"]))


def severity_of(alerts: Sequence[Document]) -> str:
    return worst([alert["severity"] for alert in alerts])


def as_text(message: Message, shown: int) -> str:
    """The body in plain text."""
    parts = [_text_of(alert, headed=message.form != SINGLE) for alert in message.alerts[:shown]]
    return "\n\n".join([*parts, *_rest(message, shown)])


def _text_of(alert: Document, headed: bool) -> str:
    lines = [f"{alert['severity'].upper()}: {alert['title']}"] if headed else []
    lines += [_sentence(alert), f"{_when(alert)}."]
    return "\n".join([*lines, *(f"{name}: {value}" for name, value in alert["details"].items())])


def as_markdown(message: Message, shown: int) -> str:
    """The body in Markdown, which apprise turns into Slack's own."""
    parts = []
    for alert in message.alerts[:shown]:
        head = f"**{alert['severity'].upper()}: {_plain(alert['title'])}**\n\n" if message.form != SINGLE else ""
        parts.append(f"{head}{_plain(_sentence(alert))}\n\n{_plain(_when(alert))}.")
        parts += [f"- {_plain(name)}: {_plain(value)}" for name, value in _few(message, alert)]
    return "\n\n".join([*parts, *map(_plain, _rest(message, shown))])


def _few(message: Message, alert: Document) -> list[tuple[str, Any]]:
    return list(alert["details"].items()) if message.form == SINGLE else []


def _plain(text: object) -> str:
    return OF_MARKDOWN.sub(r"\\\1", escape(str(text), quote=False))


def _sentence(alert: Document) -> str:
    return alert["explanation"].rstrip(". ") + "."


def _when(alert: Document) -> str:
    first, until = (alert[name].replace("T", " ")[:16] for name in ("first_at", "until"))
    if alert["source"] != "anomaly":
        return f"On {first[:10]}"
    ended = "over since then" if alert["resolved_at"] else "still going on"
    return f"From {first} to {until} UTC, {ended}"


def _rest(message: Message, shown: int) -> list[str]:
    left = len(message.alerts) - shown
    return [f"… and {left} more: `python -m orchestration alerts list` has them all."] if left > 0 else []


def as_html(message: Message, shown: int) -> str:
    """The body of an e-mail: tables and inline styles, which is what mail programs render alike."""
    cards = "".join(_card(alert) for alert in message.alerts[:shown])
    rest = "".join(f'<p style="margin:16px 0 0;color:#57606a">{escape(line)}</p>' for line in _rest(message, shown))
    return (
        '<div style="background:#f6f8fa;padding:24px 12px;font:15px/1.5 Helvetica,Arial,sans-serif;color:#1f2328">'
        '<table role="presentation" cellpadding="0" cellspacing="0" style="max-width:640px;width:100%;margin:0 auto">'
        f'<tr><td style="padding:0 0 12px;font-size:19px;font-weight:bold">{escape(message.title)}</td></tr>'
        f"{cards}</table>"
        '<div style="max-width:640px;margin:0 auto;font-size:13px;color:#57606a">'
        f"{rest}<p>Sent by Tidemark. Key {message.idempotency_key}.</p></div></div>"
    )


def _card(alert: Document) -> str:
    colour = COLOURS[alert["severity"]]
    rows = "".join(
        f'<div style="font-size:14px"><span style="color:#57606a">{escape(str(name))}:</span> '
        f"{escape(str(value))}</div>"
        for name, value in alert["details"].items()
    )
    return (
        f'<tr><td style="padding:14px 16px;background:#ffffff;border:1px solid #d0d7de;border-left:5px solid {colour}">'
        f'<div style="color:{colour};font-size:12px;font-weight:bold;letter-spacing:.04em">'
        f"{escape(alert['severity'].upper())}</div>"
        f'<div style="font-weight:bold;margin:2px 0 6px">{escape(alert["title"])}</div>'
        f"<div>{escape(_sentence(alert))}</div>"
        f'<div style="color:#57606a;margin:2px 0 8px">{escape(_when(alert))}.</div>'
        f"{rows}</td></tr>"
        '<tr><td style="height:10px"></td></tr>'
    )


def as_document(message: Message) -> dict[str, Any]:
    """What a webhook gets beside title and text."""
    return {
        "idempotency_key": str(message.idempotency_key),
        "form": message.form,
        "severity": message.severity,
        "alerts": list(message.alerts),
    }
