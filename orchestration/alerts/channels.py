"""The channels that the environment names, each sending through apprise."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import apprise
import requests
from apprise.plugins.base import NotifyBase
from apprise.plugins.custom_json import NotifyJSON
from apprise.plugins.email import NotifyEmail
from apprise.plugins.slack import NotifySlack

from ingest.errors import TidemarkError
from orchestration.alerts import render
from orchestration.alerts.model import CRITICAL, SINGLE, WARNING, Message
from orchestration.alerts.rules import Rules

ASSET = apprise.AppriseAsset(app_id="Tidemark", app_desc="Tidemark alerts", app_url="")
TYPES = {CRITICAL: apprise.NotifyType.FAILURE, WARNING: apprise.NotifyType.WARNING}
LEVELS = {CRITICAL: "error", WARNING: "warning"}
SMTP = {"smtp": ("insecure", 25), "smtp+starttls": ("starttls", 587), "smtps": ("ssl", 465)}
SLACK_PATH = re.compile(r"/services/([A-Z0-9]+)/([A-Z0-9]+)/([A-Za-z0-9]+)/?")
ADDRESS = re.compile(r"[^@\s,;]+@[^@\s,;]+")
KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True)
class Channel:
    """Somewhere a message goes. `send` takes it and one of `recipients`, and returns what went wrong, if anything."""

    name: str
    recipients: Sequence[str]
    send: Callable[[Message, str], str | None]


class NotifySlackAt(NotifySlack):
    """Slack's incoming webhooks, at whatever host takes them."""

    def __init__(self, base: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.webhook_url = base


class NotifySentry(NotifyBase):
    """One event in an envelope, as Sentry's SDKs send it. An event id that Sentry has already it drops."""

    service_name = "Sentry"
    secure_protocol = "sentry"
    setup_url = "https://develop.sentry.dev/sdk/envelopes/"
    body_maxlen = 100_000
    request_rate_per_sec = 0

    def __init__(self, endpoint: str, public_key: str, event: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint, self.public_key, self.event = endpoint, public_key, event

    def url(self, privacy: bool = False, *args: Any, **kwargs: Any) -> str:
        return f"{self.secure_protocol}://{urlsplit(self.endpoint).hostname}"

    def send(self, body: str, title: str = "", *args: Any, **kwargs: Any) -> bool:
        event = {**self.event, "message": {"formatted": f"{title}\n\n{body}"[:8000]}}
        parts = ({"event_id": event["event_id"]}, {"type": "event", "content_type": "application/json"}, event)
        try:
            answer = requests.post(
                self.endpoint,
                data="\n".join(json.dumps(part) for part in parts).encode(),
                headers={
                    "Content-Type": "application/x-sentry-envelope",
                    "X-Sentry-Auth": f"Sentry sentry_version=7, sentry_client=tidemark/1, sentry_key={self.public_key}",
                },
                timeout=self.request_timeout,
                verify=self.verify_certificate,
            )
        except requests.RequestException as error:
            self.logger.warning("Sentry at %s cannot be reached: %s", self.host, type(error).__name__)
            return False
        if not answer.ok:
            self.logger.warning("Sentry at %s answered %s", self.host, answer.status_code)
        return answer.ok


def channels(rules: Rules, environment: Mapping[str, str] | None = None) -> tuple[dict[str, Channel], dict[str, str]]:
    """The channels that are configured, and what is wrong with those that are but cannot be used."""
    told = os.environ if environment is None else environment
    found: dict[str, Channel] = {}
    broken: dict[str, str] = {}
    for name, make in (("slack", _slack), ("email", _email), ("sentry", _sentry), ("webhook", _webhook)):
        try:
            channel = make(told, rules)
        except TidemarkError as error:
            broken[name] = str(error)
        else:
            if channel:
                found[name] = channel
    try:
        found |= _others(told, rules)
    except TidemarkError as error:
        broken["ALERT_APPRISE_URLS"] = str(error)
    return found, broken


def _slack(told: Mapping[str, str], rules: Rules) -> Channel | None:
    url = told.get("SLACK_WEBHOOK_URL")
    if not url:
        return None
    parts = _split("SLACK_WEBHOOK_URL", url)
    tokens = SLACK_PATH.fullmatch(parts.path)
    if not tokens:
        raise TidemarkError("SLACK_WEBHOOK_URL is not https://…/services/T…/B…/…: copy it from Slack's app page.")
    base = f"{parts.scheme}://{parts.netloc}/services"

    def send(message: Message, recipient: str) -> str | None:
        service = NotifySlackAt(
            base,
            token_a=tokens[1],
            token_b=tokens[2],
            token_c=tokens[3],
            include_image=False,
            **_common(rules),
        )
        return _deliver(service, message, render.as_markdown(message, _shown(rules)), apprise.NotifyFormat.MARKDOWN)

    return Channel("slack", ("",), send)


def _email(told: Mapping[str, str], rules: Rules) -> Channel | None:
    server, webhook = told.get("ALERT_SMTP_URL"), told.get("ALERT_EMAIL_WEBHOOK")
    recipients = [address.strip() for address in told.get("ALERT_EMAIL_RECIPIENTS", "").split(",") if address.strip()]
    if not server and not webhook:
        if recipients:
            raise TidemarkError("ALERT_EMAIL_RECIPIENTS needs ALERT_SMTP_URL or ALERT_EMAIL_WEBHOOK beside it.")
        return None
    if server and webhook:
        raise TidemarkError("ALERT_SMTP_URL and ALERT_EMAIL_WEBHOOK both say how to send e-mail: unset one of them.")
    wrong = [address for address in recipients if not ADDRESS.fullmatch(address)]
    if wrong or not recipients:
        raise TidemarkError("ALERT_EMAIL_RECIPIENTS must be addresses with commas between them: mend it.")
    if webhook:
        return _email_webhook(webhook, recipients, rules)
    return _smtp(server or "", told.get("ALERT_EMAIL_FROM"), recipients, rules)


def _smtp(url: str, sender: str | None, recipients: Sequence[str], rules: Rules) -> Channel:
    parts = _split("ALERT_SMTP_URL", url, SMTP)
    mode, port = SMTP[parts.scheme]
    user = unquote(parts.username) if parts.username else None
    sender = sender or (user if user and ADDRESS.fullmatch(user) else f"alerts@{parts.hostname}")
    if not ADDRESS.fullmatch(sender):
        raise TidemarkError("ALERT_EMAIL_FROM must be one address: mend it.")

    def send(message: Message, recipient: str) -> str | None:
        service = NotifyEmail(
            smtp_host=parts.hostname,
            host=parts.hostname,
            port=parts.port or port,
            secure=mode != "insecure",
            secure_mode=mode,
            user=user,
            password=unquote(parts.password) if parts.password else None,
            from_addr=f"Tidemark <{sender}>",
            targets=[recipient],
            headers={KEY_HEADER: str(message.idempotency_key)},
            **_common(rules),
        )
        # apprise takes the login's name for the sender's where it can; what is told here goes first.
        service.from_addr = ["Tidemark", sender]
        return _deliver(service, message, render.as_html(message, _shown(rules)), apprise.NotifyFormat.HTML)

    return Channel("email", tuple(recipients), send)


def _email_webhook(url: str, recipients: Sequence[str], rules: Rules) -> Channel:
    def send(message: Message, recipient: str) -> str | None:
        payload = {
            # apprise's names for title and text, and ours for them; nothing is attached
            "title": "subject",
            "message": "text",
            "attachments": "",
            "to": list(recipients),
            "html": render.as_html(message, _shown(rules)),
            "idempotency_key": str(message.idempotency_key),
        }
        return _post("ALERT_EMAIL_WEBHOOK", url, message, payload, rules)

    _split("ALERT_EMAIL_WEBHOOK", url)
    return Channel("email", ("",), send)


def _webhook(told: Mapping[str, str], rules: Rules) -> Channel | None:
    url = told.get("ALERT_WEBHOOK_URL")
    if not url:
        return None
    _split("ALERT_WEBHOOK_URL", url)

    def send(message: Message, recipient: str) -> str | None:
        payload = {"attachments": "", **render.as_document(message)}
        return _post("ALERT_WEBHOOK_URL", url, message, payload, rules)

    return Channel("webhook", ("",), send)


def _post(variable: str, url: str, message: Message, payload: Mapping[str, Any], rules: Rules) -> str | None:
    parts = _split(variable, url)
    service = NotifyJSON(
        secure=parts.scheme == "https",
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        password=parts.password,
        fullpath=parts.path or "/",
        params=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers={KEY_HEADER: str(message.idempotency_key)},
        payload=dict(payload),
        **_common(rules),
    )
    return _deliver(service, message, render.as_text(message, _shown(rules)), apprise.NotifyFormat.TEXT)


def _sentry(told: Mapping[str, str], rules: Rules) -> Channel | None:
    url = told.get("SENTRY_DSN")
    if not url:
        return None
    parts = _split("SENTRY_DSN", url)
    folder, _, project = parts.path.rstrip("/").rpartition("/")
    if not parts.username or not project.isdigit():
        raise TidemarkError("SENTRY_DSN is not https://KEY@HOST/PROJECT: copy it from Sentry's project settings.")
    place = parts.netloc.rpartition("@")[2]
    endpoint = f"{parts.scheme}://{place}{folder}/api/{project}/envelope/"

    def send(message: Message, recipient: str) -> str | None:
        service = NotifySentry(endpoint, parts.username or "", sentry_event(message), host=place, **_common(rules))
        return _deliver(service, message, render.as_text(message, _shown(rules)), apprise.NotifyFormat.TEXT)

    return Channel("sentry", ("",), send)


def sentry_event(message: Message) -> dict[str, Any]:
    """The event of a message; alerts of one rule and scope are one issue."""
    alert = message.alerts[0] if message.form == SINGLE else {}
    return {
        "event_id": message.idempotency_key.hex,
        "timestamp": datetime.now(timezone.utc).timestamp(),
        "platform": "other",
        "logger": "tidemark.alerts",
        "level": LEVELS.get(message.severity, "info"),
        "fingerprint": ["tidemark", str(alert.get("rule", message.form)), str(alert.get("scope", ""))],
        "tags": {name: str(alert[name])[:200] for name in ("kind", "rule", "scope") if alert.get(name)},
        "extra": render.as_document(message),
    }


def _others(told: Mapping[str, str], rules: Rules) -> dict[str, Channel]:
    """`ALERT_APPRISE_URLS`: name=URL, spaces between; whatever apprise can send to."""
    found = {}
    for word in told.get("ALERT_APPRISE_URLS", "").split():
        name, _, url = word.partition("=")
        if name not in rules.habits:
            raise TidemarkError("ALERT_APPRISE_URLS names a channel that is not in seeds/alert_channels.csv: add it.")
        with apprise.LogCapture(level=logging.CRITICAL):
            service = apprise.Apprise.instantiate(url, asset=ASSET)
        if service is None:
            raise TidemarkError(f"ALERT_APPRISE_URLS: apprise cannot read the URL of {name}: mend it.")
        found[name] = Channel(name, ("",), _sender(service, rules))
    return found


def _sender(service: NotifyBase, rules: Rules) -> Callable[[Message, str], str | None]:
    return lambda message, recipient: _deliver(
        service, message, render.as_text(message, _shown(rules)), apprise.NotifyFormat.TEXT
    )


def _common(rules: Rules) -> dict[str, Any]:
    seconds = rules.number("timeout_seconds")
    return {"asset": ASSET, "cto": seconds, "rto": seconds}


def _shown(rules: Rules) -> int:
    return rules.number("shown_alerts")


def _deliver(service: NotifyBase, message: Message, body: str, body_format: apprise.NotifyFormat) -> str | None:
    """Send through apprise; what it says when that fails, without the secrets of the URL."""
    hub = apprise.Apprise(asset=ASSET)
    hub.add(service)
    kind = TYPES.get(message.severity, apprise.NotifyType.INFO)
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as captured:
        sent = hub.notify(body=body, title=message.title, notify_type=kind, body_format=body_format)
        said = " ".join(captured.getvalue().split())
    return None if sent else (said or "the channel did not take it")[:500]


def _split(variable: str, url: str, schemes: object = ("http", "https")) -> Any:
    """The parts of a URL.

    Raises:
        TidemarkError: it has none; the message does not quote it, it may hold a password.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)  # type: ignore[operator]
    except ValueError:
        good = False
    if not good:
        raise TidemarkError(f"{variable} is no URL that begins with {', '.join(f'{s}://' for s in schemes)}: mend it.")  # type: ignore[attr-defined]
    return parts
