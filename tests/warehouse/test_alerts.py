"""Alerts reach real HTTP and SMTP servers once, whatever dies on the way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from ingest.connection import connect
from ingest.errors import TidemarkError
from orchestration.alerts import run
from orchestration.alerts.collect import anomaly_alert
from orchestration.alerts.rules import Rules, read_rules
from orchestration.defs.alerts import alerts as alerts_job
from orchestration.refresh import PROJECT_FOLDER
from orchestration.seeds import FOLDER
from tests.warehouse.conftest import Warehouse, without_server_variables
from tests.warehouse.receivers import Mailbox, Web, mailbox, web

# A Wednesday in working hours, an hour after the anomalies of these tests begin.
NOON = datetime(2026, 3, 18, 12, tzinfo=timezone.utc)
VARIABLES = (
    *("ALERT_EMAIL_WEBHOOK", "ALERT_EMAIL_RECIPIENTS", "ALERT_EMAIL_FROM", "ALERT_SMTP_URL", "SLACK_WEBHOOK_URL"),
    *("ALERT_WEBHOOK_URL", "SENTRY_DSN", "ALERT_APPRISE_URLS"),
)
# The tables that stand behind the two marts of the alerts.
SOURCES = ("marts.fct_anomalies", "ops.budget_alerts")


class Alerting:
    """A built warehouse whose anomalies and budgets' crossings are those of a test."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.patterns = {table: self.query(f"select to_jsonb(t) from {table} as t limit 1")[0][0] for table in SOURCES}
        self.rules = read_rules()

    def query(self, statement: str, *parameters: object) -> list[tuple]:
        with contextlib.closing(connect(self.warehouse.server, autocommit=True)) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def clear(self) -> None:
        self.query(f"truncate ops.alerts, ops.alert_messages, ops.alert_deliveries, {', '.join(SOURCES)}")
        self.at(NOON)

    def at(self, now: datetime) -> None:
        """Set the warehouse's clock."""
        with contextlib.closing(connect(self.warehouse.server, autocommit=True)) as connection:
            statement = sql.SQL("alter database {} set tidemark.as_of = {}")
            name = sql.Identifier(self.warehouse.server.database)
            connection.execute(statement.format(name, sql.Literal(now.isoformat())))

    def insert(self, table: str, **columns: Any) -> None:
        """A row like one that dbt built, but for some columns."""
        row = json.dumps(self.patterns[table] | columns, default=str)
        self.query(f"insert into {table} select * from jsonb_populate_record(null::{table}, %s::jsonb)", row)

    def anomaly(self, rule: str = "rule_a", begins: int = 11, hours: int = 1, **columns: Any) -> None:
        """An anomaly of the day of NOON, from one hour to another, UTC."""
        first = NOON.replace(hour=begins)
        told = {"rule": rule, "app_id": "shop", "kind": "cost_spike", "metric": "llm_cost_usd", "severity": "critical"}
        times = {
            "first_seen_at": first,
            "last_seen_at": first + timedelta(hours=hours - 1),
            "bucket_at": first,
            "grain_minutes": 60,
            "resolved_at": None,
            # Of a whole app, and without words of its own: they are made of its numbers.
            "workspace_id": None,
            "explanation": None,
        }
        self.insert("marts.fct_anomalies", **{"anomaly_key": os.urandom(16).hex(), **told, **times, **columns})

    def crossing(self, rate: str, spent: str = "80") -> None:
        self.insert(
            "ops.budget_alerts",
            **{"target": "prod", "budget": "all_monthly", "period": "month", "period_start_date": "2026-03-01"},
            **{"threshold_rate": rate, "crossed_date": "2026-03-18", "amount_usd": "100", "spent_usd": spent},
        )

    def send(self, rules: Rules | None = None, **options: Any) -> run.Sent:
        return run.send(self.warehouse.server, rules=rules or self.rules, **options)

    def with_settings(self, **settings: int) -> Rules:
        told = {name: Decimal(value) for name, value in settings.items()}
        return replace(self.rules, settings={**self.rules.settings, **told})

    def retry_now(self) -> None:
        """Let the waits of failed attempts pass."""
        self.query("update ops.alert_messages set next_attempt_at = clock_timestamp()")


@pytest.fixture(scope="module")
def copied(sample_warehouse: Any, copy_warehouse: Callable[[Any], Warehouse]) -> Alerting:
    return Alerting(copy_warehouse(sample_warehouse))


@pytest.fixture
def alerting(copied: Alerting, monkeypatch: pytest.MonkeyPatch) -> Alerting:
    """No channel is configured, nothing was noticed yet."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    copied.clear()
    return copied


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, alerting: Alerting) -> Iterator[Web]:
    """The JSON webhook is configured."""
    with web() as server:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", server.url("/in?token=t"))
        yield server


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch, alerting: Alerting) -> Iterator[Web]:
    with web() as server:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", server.url("/services/T0000AAAA/B0000BBBB/cccccccccccccccccccccccc"))
        yield server


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch, alerting: Alerting) -> Iterator[Mailbox]:
    with mailbox() as server:
        monkeypatch.setenv("ALERT_SMTP_URL", f"smtp://127.0.0.1:{server.port}")
        monkeypatch.setenv("ALERT_EMAIL_FROM", "alerts@tidemark.example")
        monkeypatch.setenv("ALERT_EMAIL_RECIPIENTS", "one@example.com, two@example.com")
        yield server


def test_the_marts_as_dbt_builds_them_are_told_once(sample_warehouse, copy_warehouse, alerting, monkeypatch):
    warehouse = copy_warehouse(sample_warehouse)
    wanted = warehouse.query(
        "select (select count(*) from marts.fct_anomalies), (select count(*) from marts.fct_budget_alerts)"
    )[0]
    assert min(wanted) > 0
    # Slack alone: what is told at once, and the digest of what happened long ago.
    with web() as server:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", server.url("/services/T0000AAAA/B0000BBBB/cccccccccccccccccccccccc"))
        first = run.send(warehouse.server, digest=True)
        again = run.send(warehouse.server, digest=True)
    assert first.raised == sum(wanted)
    assert (again.raised, again.composed, again.sent) == (0, 0, 0)
    assert len(server.posts) == first.sent > 0


def test_a_webhook_gets_each_alert_once_as_json(alerting, hook):
    numbers = {"current": 412, "expected": 55, "lower": None, "upper": 90}
    alerting.anomaly(**numbers, **{name + "_value": told for name, told in numbers.items()}, upper_bound=90)
    alerting.crossing("0.75", spent="80.5")
    done = alerting.send()
    assert (done.raised, done.sent) == (2, 2)
    for _ in range(2):
        done = alerting.send()
        assert (done.raised, done.composed, done.sent) == (0, 0, 0)
    assert [post.path for post in hook.posts] == ["/in?token=t"] * 2
    cost, budget = (post.document for post in hook.posts)
    assert (cost["severity"], cost["type"], cost["form"]) == ("critical", "failure", "single")
    (alert,) = cost["alerts"]
    assert (alert["rule"], alert["scope"], alert["kind"]) == ("rule_a", "shop", "cost_spike")
    assert (alert["first_at"], alert["until"]) == ("2026-03-18T11:00:00Z", "2026-03-18T12:00:00Z")
    assert (alert["details"]["seen"], alert["details"]["expected"], alert["details"]["bounds"]) == (
        *("412", "55"),
        "at most 90",
    )
    assert budget["title"] == "Warning: Budget all_monthly: 75 % reached"
    assert "$80.50 of $100.00 on 2026-03-18" in budget["message"]
    for post in hook.posts:
        assert post.headers["Idempotency-Key"] == post.document["idempotency_key"]
    assert len({post.document["idempotency_key"] for post in hook.posts}) == 2


def test_what_late_data_move_is_the_same_anomaly(alerting, hook):
    alerting.anomaly(begins=10, hours=1)
    alerting.send()
    # Late data begin it an hour earlier and let it last: another first bucket, another key in the mart.
    alerting.query("delete from marts.fct_anomalies")
    alerting.anomaly(begins=9, hours=3)
    assert alerting.send().raised == 0
    assert alerting.query("select first_at, until from ops.alerts") == [(NOON.replace(hour=9), NOON)]
    # Then they split it; both parts are it.
    alerting.query("delete from marts.fct_anomalies")
    alerting.anomaly(begins=9, resolved_at=NOON.replace(hour=10))
    alerting.anomaly(begins=11)
    for _ in range(2):
        assert alerting.send().raised == 0
        assert alerting.query("select count(*), max(resolved_at) from ops.alerts") == [(1, None)]
    # Another app, another rule, and a later hour are others.
    alerting.anomaly(begins=9, app_id="other")
    alerting.anomaly("rule_b", begins=9)
    alerting.anomaly(begins=12)
    assert alerting.send().raised == 3
    assert len(hook.posts) == 4


def test_what_is_explained_away_lasts_no_longer(alerting, hook):
    alerting.anomaly()
    alerting.send()
    alerting.query("delete from marts.fct_anomalies")
    alerting.send()
    assert alerting.query("select resolved_at from ops.alerts") == [(NOON,)]
    assert len(hook.posts) == 1


def test_a_graver_anomaly_goes_to_those_who_were_not_told(alerting, hook, mail):
    alerting.anomaly(severity="warning")
    alerting.send()
    # A warning is for the digest of the mail, and at once for the webhook.
    assert (len(hook.posts), len(mail.mails)) == (1, 0)
    alerting.query("update marts.fct_anomalies set severity = 'critical'")
    done = alerting.send()
    assert (done.raised, done.worsened) == (0, 1)
    assert (len(hook.posts), mail.recipients) == (1, ["one@example.com", "two@example.com"])
    # Less grave again, nobody hears of it.
    alerting.query("update marts.fct_anomalies set severity = 'warning'")
    assert alerting.send(digest=True).sent == 0


def test_mail_has_both_forms_and_the_key(alerting, mail):
    alerting.anomaly(app_id="<b>&shop")
    alerting.send()
    assert mail.recipients == ["one@example.com", "two@example.com"]
    _, message = mail.mails[0]
    assert message["Subject"] == "Critical: Cost spike: llm_cost_usd of <b>&shop"
    assert message["From"] == "Tidemark <alerts@tidemark.example>"
    assert message["Idempotency-Key"] == str(alerting.query("select idempotency_key from ops.alert_messages")[0][0])
    html, text = (message.get_body([kind]).get_content() for kind in ("html", "plain"))
    assert "&lt;b&gt;&amp;shop" in html
    assert "<b>&shop" not in html
    assert "llm_cost_usd of <b>&shop was" in text


def test_a_recipient_who_has_it_does_not_get_it_again(alerting, mail):
    mail.refused.add("two@example.com")
    alerting.anomaly()
    done = alerting.send()
    assert done.sent == 0
    assert "two@example.com" in done.problems()[0]
    assert mail.recipients == ["one@example.com"]
    mail.refused.clear()
    alerting.retry_now()
    assert alerting.send().sent == 1
    assert mail.recipients == ["one@example.com", "two@example.com"]


def test_a_silent_mail_server_is_given_up_for_this_time(alerting, mail):
    mail.silent = True
    alerting.anomaly()
    (problem,) = [
        line for line in alerting.send(alerting.with_settings(timeout_seconds=1)).problems() if "email" in line
    ]
    assert "not sent" in problem
    mail.silent = False
    alerting.retry_now()
    assert alerting.send().sent == 1


def test_a_failing_channel_waits_longer_each_time_and_stops_no_other(alerting, hook, mail):
    hook.answers = [500, None, 503]
    rules = alerting.with_settings(timeout_seconds=1)
    alerting.anomaly()
    waits = []
    for attempt in (1, 2, 3):
        done = alerting.send(rules)
        (failed,) = [attempt for attempt in done.attempts if attempt.error]
        assert failed.message.channel == "webhook"
        # Not before its time.
        assert alerting.send(rules).attempts == []
        waits += alerting.query(
            "select round(extract(epoch from next_attempt_at - clock_timestamp()))::integer from ops.alert_messages"
            " where channel = 'webhook' and attempts = %s",
            attempt,
        )
        alerting.retry_now()
    assert len(mail.mails) == 2
    assert [round(wait / 60) for (wait,) in waits] == [1, 2, 4]
    assert alerting.send(rules).sent == 1
    assert len(hook.posts) == 4
    assert len({post.headers["Idempotency-Key"] for post in hook.posts}) == 1


def test_what_happens_while_a_channel_is_dead_comes_as_one_when_it_is_back(alerting, slack):
    slack.answers = [500]
    alerting.anomaly("rule_0")
    assert alerting.send().sent == 0
    for number in range(1, 6):
        alerting.anomaly(f"rule_{number}")
        assert alerting.send().composed == 0
    alerting.retry_now()
    assert alerting.send().sent == 1
    assert alerting.send().sent == 1
    assert len(slack.posts) == 3
    assert "Several at once: 5 alerts (5 critical)" in slack.posts[-1].body.decode()


def test_a_message_that_never_goes_through_blocks_for_a_while_and_is_given_up_in_the_end(alerting, slack):
    rules = alerting.with_settings(blocking_attempts=2)
    slack.answers = [400, 400]
    alerting.anomaly("poison")
    alerting.send(rules)
    alerting.anomaly("other")
    alerting.retry_now()
    # The second failure is the last that holds the others up.
    assert alerting.send(rules).sent == 0
    assert alerting.send(rules).sent == 1
    alerting.query("update ops.alert_messages set composed_at = composed_at - interval '8 days' where sent_at is null")
    slack.answers = [400]
    alerting.retry_now()
    (attempt,) = alerting.send(rules).attempts
    assert attempt.given_up
    alerting.retry_now()
    assert alerting.send(rules).attempts == []
    with contextlib.closing(connect(alerting.warehouse.server)) as connection:
        found, (unsent,) = run.listed(connection)
    channels = {alert["rule"]: {told.split()[0]: told for told in alert["channels"]} for alert in found}
    assert channels["poison"]["slack"] == "slack given up"
    assert channels["other"]["webhook"] == "webhook from 03-18 12:00"
    assert unsent["given_up_at"] is not None


def test_an_anomaly_s_own_words_and_what_moved_it_are_told() -> None:
    parts = [
        {"kind": "feature", "name": "(none)", "change": 300},
        {"kind": "model", "name": "gpt-4o", "change": 200},
        {"kind": "feature", "name": "chat", "change": 100},
    ]
    anomaly = {"kind": "cost_spike", "metric": "llm_cost", "explanation": "LLM cost was $412", "contributors": parts}
    row = {"rule": "r", "scope": "shop/w-1", "severity": "warning", "resolved_at": None}
    alert = anomaly_alert([{**row, "anomaly": anomaly, "first_at": NOON, "until": NOON}])
    assert alert.explanation == "LLM cost was $412"
    assert alert.details["moved most by"] == "model gpt-4o, feature chat"


def test_many_at_once_are_one_message_and_slack_is_not_told_to_ping_anybody(alerting, slack):
    for number in range(3):
        alerting.anomaly(f"rule_{number}", app_id="<!channel> *x*")
    assert alerting.send().composed == 3
    for number in range(25):
        alerting.anomaly(f"more_{number}", app_id="<!channel>")
    assert alerting.send().composed == 1
    assert len(slack.posts) == 4
    (attachment,) = slack.posts[-1].document["attachments"]
    assert "25 alerts (25 critical)" in attachment["title"]
    assert attachment["text"].count("CRITICAL") == 20
    assert "and 5 more" in attachment["text"]
    assert "<!channel>" not in b"".join(post.body for post in slack.posts).decode()


def test_quiet_hours_hold_warnings_and_no_critical_alert(alerting, slack):
    alerting.at(NOON.replace(hour=23))
    alerting.anomaly("grave", begins=22)
    alerting.anomaly("less", begins=22, severity="warning")
    assert alerting.send().sent == 1
    alerting.at(NOON.replace(hour=6, minute=59) + timedelta(days=1))
    assert alerting.send().sent == 0
    alerting.at(NOON.replace(hour=7) + timedelta(days=1))
    assert alerting.send().sent == 1
    assert [post.document["attachments"][0]["title"].split(":")[0] for post in slack.posts] == ["Critical", "Warning"]


def test_the_digest_comes_once_a_day(alerting, mail):
    alerting.anomaly("first", severity="warning")
    alerting.anomaly(
        "long_ago", begins=1, first_seen_at=NOON - timedelta(days=9), last_seen_at=NOON - timedelta(days=9)
    )
    assert alerting.send().sent == 0
    alerting.at(NOON + timedelta(hours=19, minutes=59))
    alerting.anomaly("second", severity="warning")
    assert alerting.send().sent == 0
    alerting.at(NOON + timedelta(hours=20))
    assert alerting.send().sent == 1
    assert mail.recipients == ["one@example.com", "two@example.com"]
    assert mail.mails[0][1]["Subject"] == "Daily digest: 3 alerts (1 critical, 2 warning)"
    alerting.at(NOON + timedelta(hours=44))
    assert alerting.send().sent == 0


def test_a_channel_configured_later_gets_what_waited(alerting, monkeypatch):
    alerting.anomaly()
    done = alerting.send()
    assert done.composed == 0
    assert any(line.startswith("webhook: 1 due") for line in done.problems())
    with web() as server:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", server.url())
        assert alerting.send().sent == 1
        assert len(server.posts) == 1


def test_sentry_gets_an_event_whose_id_is_the_key(alerting, monkeypatch):
    with web() as server:
        monkeypatch.setenv("SENTRY_DSN", server.url("/sub/42", login="public@"))
        alerting.anomaly()
        assert alerting.send().sent == 1
    (post,) = server.posts
    assert post.path == "/sub/api/42/envelope/"
    assert "sentry_key=public" in post.headers["X-Sentry-Auth"]
    head, item, event = (json.loads(line) for line in post.body.splitlines())
    assert item["type"] == "event"
    key = alerting.query("select idempotency_key from ops.alert_messages")[0][0]
    assert head["event_id"] == event["event_id"] == key.hex
    assert (event["level"], event["fingerprint"]) == ("error", ["tidemark", "rule_a", "shop"])


def test_the_webhook_of_an_email_service_gets_recipients_and_both_forms(alerting, monkeypatch):
    with web() as server:
        monkeypatch.setenv("ALERT_EMAIL_WEBHOOK", server.url("/mail"))
        monkeypatch.setenv("ALERT_EMAIL_RECIPIENTS", "one@example.com,two@example.com")
        alerting.anomaly()
        assert alerting.send().sent == 1
    document = server.posts[0].document
    assert document["to"] == ["one@example.com", "two@example.com"]
    assert document["subject"] == "Critical: Cost spike: llm_cost_usd of shop"
    assert document["html"].startswith("<div")
    assert "llm_cost_usd of shop was" in document["text"]


def test_a_failed_run_is_told_once(alerting, hook):
    alerting.query(
        "create table if not exists ops.run_failures (run_id text primary key, job text not null, error text not null,"
        " failed_at timestamptz not null default clock_timestamp())"
    )
    alerting.query("insert into ops.run_failures values ('r-1', 'refresh', 'The disk is full.', %s)", NOON)
    assert alerting.send().sent == 1
    assert alerting.send().raised == 0
    document = hook.posts[0].document
    assert document["title"] == "Critical: The job refresh failed"
    assert document["message"].splitlines()[0] == "The disk is full."
    alerting.query("truncate ops.run_failures")


def test_any_other_channel_of_apprise_has_its_own_name(alerting, monkeypatch):
    with web() as server:
        monkeypatch.setenv("ALERT_APPRISE_URLS", f"oncall=json://127.0.0.1:{server.port}/oncall")
        assert "is not in seeds/alert_channels.csv" in alerting.send().broken["ALERT_APPRISE_URLS"]
        habits = {**alerting.rules.habits, "oncall": replace(alerting.rules.habits["webhook"], channel="oncall")}
        routes = {**alerting.rules.routes, ("cost_spike", "any", "oncall"): "at_once"}
        alerting.anomaly(severity="warning")
        assert alerting.send(replace(alerting.rules, habits=habits, routes=routes)).sent == 1
    assert server.posts[0].path == "/oncall"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/secret"}, "SLACK_WEBHOOK_URL is not"),
        ({"ALERT_WEBHOOK_URL": "ftp://secret@host/"}, "ALERT_WEBHOOK_URL is no URL"),
        ({"ALERT_WEBHOOK_URL": "https://secret@host:port/"}, "ALERT_WEBHOOK_URL is no URL"),
        ({"SENTRY_DSN": "https://secret@host/project"}, "SENTRY_DSN is not"),
        ({"ALERT_EMAIL_RECIPIENTS": "secret@example.com"}, "needs ALERT_SMTP_URL"),
        ({"ALERT_SMTP_URL": "smtp://host", "ALERT_EMAIL_RECIPIENTS": "secret"}, "must be addresses"),
        ({"ALERT_SMTP_URL": "smtp://host"}, "must be addresses"),
        (
            {"ALERT_SMTP_URL": "smtp://h", "ALERT_EMAIL_WEBHOOK": "http://h", "ALERT_EMAIL_RECIPIENTS": "secret@a.b"},
            "unset one of them",
        ),
    ],
)
def test_a_channel_that_is_badly_told_is_named_and_stops_no_other(alerting, slack, monkeypatch, variables, said):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    alerting.anomaly()
    done = alerting.send()
    assert said in done.problems()[0]
    assert "secret" not in str(done.problems())
    assert len(slack.posts) == ("SLACK_WEBHOOK_URL" not in variables)


def test_what_goes_wrong_inside_a_channel_stops_no_other(alerting, hook, mail, monkeypatch):
    monkeypatch.setattr("orchestration.alerts.render.as_html", lambda *_: 1 / 0)
    alerting.anomaly()
    done = alerting.send()
    assert len(hook.posts) == 1
    assert "email: not sent: Critical: Cost spike: llm_cost_usd of shop: ZeroDivisionError" in "\n".join(
        done.problems()
    )


def child(alerting: Alerting, *arguments: str) -> subprocess.Popen:
    environment = {**without_server_variables(), **alerting.warehouse.server.environment()}
    return subprocess.Popen(
        [sys.executable, "-m", "orchestration", "alerts", *(arguments or ("send",))],
        cwd=PROJECT_FOLDER,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_sender_killed_between_claim_and_record_loses_nothing_and_repeats_the_key(alerting, hook):
    alerting.anomaly()
    hook.answers = [None]
    killed = child(alerting)
    assert hook.arrived.acquire(timeout=60), killed.communicate()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    # Whoever comes now leaves the message to the one who claimed it.
    assert alerting.send().attempts == []
    alerting.query("update ops.alert_messages set claimed_until = clock_timestamp() - interval '1 second'")
    assert alerting.send().sent == 1
    assert alerting.send().attempts == []
    first, second = (post.headers["Idempotency-Key"] for post in hook.posts)
    assert first == second


def test_a_sender_killed_before_the_channel_hears_of_it_loses_nothing(alerting, mail):
    # It connects, and waits for a greeting that never comes: claimed, and not sent.
    mail.silent = True
    alerting.anomaly()
    killed = child(alerting)
    until = time.monotonic() + 60
    while not alerting.query("select 1 from ops.alert_messages where claimed_until is not null"):
        assert time.monotonic() < until, killed.communicate()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    mail.silent = False
    assert alerting.send().attempts == []
    alerting.query("update ops.alert_messages set claimed_until = clock_timestamp() - interval '1 second'")
    assert alerting.send().sent == 1
    assert mail.recipients == ["one@example.com", "two@example.com"]


def test_senders_at_the_same_time_send_each_once(alerting, hook):
    for number in range(5):
        alerting.anomaly(f"rule_{number}")
    children = [child(alerting) for _ in range(3)]
    for process in children:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    keys = [post.headers["Idempotency-Key"] for post in hook.posts]
    assert len(keys) == len(set(keys)) == 5


def test_the_command_reports_and_a_dead_channel_is_no_failure(alerting, monkeypatch):
    with web() as server:
        url = server.url()
    monkeypatch.setenv("ALERT_WEBHOOK_URL", url)
    alerting.anomaly()
    process = child(alerting)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0
    assert "webhook: not sent: Critical: Cost spike" in output
    assert "1 new alerts" in output
    output = child(alerting, "list").communicate(timeout=60)[0].decode()
    assert "Cost spike: llm_cost_usd of shop" in output
    assert "webhook: Critical: Cost spike: llm_cost_usd of shop: 1 attempts, next try at" in output


def test_the_job_succeeds_whatever_a_channel_does(alerting, hook, monkeypatch):
    for name, value in alerting.warehouse.server.environment().items():
        monkeypatch.setenv(name, value)
    hook.answers = [500]
    alerting.anomaly()
    ran = alerts_job.execute_in_process()
    assert ran.success
    assert len(hook.posts) == 1
    alerting.retry_now()
    told = {"ops": {"send_alerts": {"config": {"digest": True}}}}
    assert alerts_job.execute_in_process(run_config=told).success
    assert len(hook.posts) == 2


def test_a_test_message_goes_to_the_channel_asked(alerting, hook, mail):
    assert run.send_test(alerting.warehouse.server, "webhook") == [("webhook", None)]
    assert (len(hook.posts), len(mail.mails)) == (1, 0)
    hook.answers = [500]
    assert dict(run.send_test(alerting.warehouse.server))["webhook"] is not None
    assert mail.recipients == ["one@example.com", "two@example.com"]
    # It is in the log, and nobody tries it again.
    assert alerting.send().attempts == []
    with pytest.raises(TidemarkError, match="not configured"):
        run.send_test(alerting.warehouse.server, "slack")


ROUTES = "kind,severity,channel,delivery\n"
CHANNELS = "channel,time_zone,quiet_from,quiet_to,digest_at,group_from\n"


@pytest.mark.parametrize(
    ("seed", "content", "said"),
    [
        (
            "alert_routes",
            ROUTES + "any,any,slack,at_once\ncost_spikes,any,slack,at_once",
            "line 3: kind is 'cost_spikes'",
        ),
        ("alert_routes", ROUTES + "any,grave,slack,at_once", "line 2: severity is 'grave'"),
        ("alert_routes", ROUTES + "any,any,pager,at_once", "line 2: channel is 'pager'"),
        ("alert_routes", ROUTES + "any,any,slack,soon", "line 2: delivery is 'soon'"),
        ("alert_routes", ROUTES + "any,any,slack,digest\nany,any,slack,at_once", "line 3: .*twice"),
        ("alert_routes", ROUTES + "any,any", "line 2: the line has not as many fields"),
        ("alert_channels", CHANNELS + "slack,Mars/Olympus,,,08:00,", "line 2: there is no time zone"),
        ("alert_channels", CHANNELS + "slack,../../etc/passwd,,,08:00,", "line 2: there is no time zone"),
        ("alert_channels", CHANNELS + "slack,UTC,22:00,,08:00,", "line 2: quiet hours need"),
        ("alert_channels", CHANNELS + "slack,UTC,22:00,22:00,08:00,", "line 2: quiet hours need"),
        ("alert_channels", CHANNELS + "slack,UTC,25:00,07:00,08:00,", "line 2: quiet_from is '25:00'"),
        ("alert_channels", CHANNELS + "slack,UTC,,,,", "line 2: digest_at is missing"),
        ("alert_channels", CHANNELS + "slack,UTC,,,08:00,many", "line 2: group_from is 'many'"),
        ("alert_settings", "setting,value,meaning\nlate_hours,NaN,x", "line 2: late_hours is 'NaN'"),
        ("alert_settings", "setting,value,meaning\nlate_hours,1,x", "is missing"),
        ("alert_settings", "setting,value,meaning\nlate_hour,1,x", "line 2: setting is 'late_hour'"),
    ],
)
def test_a_broken_seed_is_refused_with_its_line(tmp_path: Path, seed: str, content: str, said: str) -> None:
    for name in ("alert_routes", "alert_channels", "alert_settings", "metrics"):
        (tmp_path / f"{name}.csv").write_bytes((FOLDER / f"{name}.csv").read_bytes())
    read_rules(tmp_path)
    (tmp_path / f"{seed}.csv").write_text(content)
    with pytest.raises(TidemarkError, match=said):
        read_rules(tmp_path)


def test_the_most_telling_route_holds() -> None:
    routes = {
        ("any", "any", "slack"): "digest",
        ("any", "critical", "slack"): "after_quiet_hours",
        ("cost_spike", "any", "slack"): "at_once",
        ("cost_spike", "info", "slack"): "never",
    }
    rules = replace(read_rules(), routes=routes)
    told = {
        ("mfa_anomaly", "warning"): {"slack": "digest"},
        ("mfa_anomaly", "critical"): {"slack": "after_quiet_hours"},
        ("cost_spike", "critical"): {"slack": "at_once"},
        ("cost_spike", "info"): {},
    }
    assert {asked: rules.deliveries(*asked) for asked in told} == told


def test_quiet_hours_and_digests_are_the_channels_own_time(tmp_path: Path) -> None:
    for name in ("alert_routes", "alert_settings", "metrics"):
        (tmp_path / f"{name}.csv").write_bytes((FOLDER / f"{name}.csv").read_bytes())
    rows = [f"{name},Europe/Berlin,22:00,07:00,02:30,4\n" for name in ("slack", "email", "sentry", "webhook")]
    (tmp_path / "alert_channels.csv").write_text(CHANNELS + "".join(rows))
    habits = read_rules(tmp_path).habits["slack"]

    def utc(day: int, hour: int, minute: int = 0) -> datetime:
        return datetime(2026, 3, day, hour, minute, tzinfo=timezone.utc)

    # Berlin is an hour ahead of UTC until 2026-03-29 01:00 UTC, then two.
    assert habits.after_quiet_hours(utc(28, 20, 59)) == utc(28, 20, 59)
    assert habits.after_quiet_hours(utc(27, 21)) == utc(28, 6)
    assert habits.after_quiet_hours(utc(28, 21)) == utc(29, 5)
    assert habits.after_quiet_hours(utc(29, 5)) == utc(29, 5)
    # Half past two does not exist on the 29th: it is an hour after half past one.
    assert habits.next_digest(utc(28, 12)) == utc(29, 1, 30)
    assert habits.next_digest(utc(29, 12)) == utc(30, 0, 30)
