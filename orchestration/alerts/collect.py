"""From the marts to `ops.alerts`: what is new, what grew worse, and which channels are to hear of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Json

from orchestration.alerts.model import (
    AFTER_QUIET_HOURS,
    BUDGET_KIND,
    CRITICAL,
    DIGEST,
    INFO,
    RUN_KIND,
    SEVERITIES,
    WARNING,
    Alert,
    worst,
)
from orchestration.alerts.rules import Rules

# An anomaly is known where an alert of its rule and scope overlaps it: late data may move its ends.
ANOMALIES = """
with anomalies as (
    select
        to_jsonb(found) as anomaly,
        found.rule,
        concat_ws('/', found.app_id, to_jsonb(found) ->> 'workspace_id') as scope,
        found.severity,
        found.first_seen_at as first_at,
        found.last_seen_at + found.grain_minutes * interval '1 minute' as until,
        found.resolved_at
    from marts.fct_anomalies as found
),

-- several parts of what was one anomaly are judged together
matched as (
    select
        anomalies.*,
        known.alert_id,
        known.severity as known_severity,
        known.resolved_at as known_resolved_at,
        min(anomalies.first_at) over parts < known.first_at
        or max(anomalies.until) over parts > known.until
        or max(array_position(%(severities)s, anomalies.severity)) over parts
        > array_position(%(severities)s, known.severity) as has_grown,
        case when bool_and(anomalies.resolved_at is not null) over parts then max(anomalies.resolved_at) over parts end
            as all_resolved_at
    from anomalies
    left join lateral (
        select * from ops.alerts
        where
            source = 'anomaly' and rule = anomalies.rule and scope = anomalies.scope
            and first_at < anomalies.until and until > anomalies.first_at
        order by alert_id
        limit 1
    ) as known on true
    window parts as (partition by known.alert_id)
)

select * from matched
where alert_id is null or has_grown or all_resolved_at is distinct from known_resolved_at
order by first_at, rule, scope
"""

# What late data explained away lasts no longer.
END_WITHDRAWN = """
update ops.alerts
set resolved_at = %(now)s
where
    source = 'anomaly' and resolved_at is null
    and not exists (
        select from marts.fct_anomalies as found
        where
            found.rule = alerts.rule and concat_ws('/', found.app_id, to_jsonb(found) ->> 'workspace_id') = alerts.scope
            and found.first_seen_at < alerts.until
            and found.last_seen_at + found.grain_minutes * interval '1 minute' > alerts.first_at
    )
"""

BUDGET_ALERTS = """
select given.*
from marts.fct_budget_alerts as given
where not exists (
    select from ops.alerts
    where
        source = 'budget' and rule = concat_ws(' ', given.budget, given.period, trim_scale(given.threshold_rate))
        and scope = given.period_start_date::text
)
order by given.crossed_date, given.budget, given.threshold_rate
"""

RUN_FAILURES = """
select failed.*
from ops.run_failures as failed
where not exists (select from ops.alerts where source = 'run' and rule = failed.job and scope = failed.run_id)
order by failed.failed_at, failed.run_id
"""

INSERT = """
insert into ops.alerts (
    alert_key, source, kind, rule, scope, first_at, until, severity, title, explanation, details, resolved_at, raised_at
)
values (
    %(key)s, %(source)s, %(kind)s, %(rule)s, %(scope)s, %(first_at)s, %(until)s, %(severity)s, %(title)s,
    %(explanation)s, %(details)s, %(resolved_at)s, %(raised_at)s
)
on conflict (alert_key) do nothing
returning alert_id
"""

# A message that was composed before stays as it is.
GROW = """
update ops.alerts
set
    first_at = least(first_at, %(first_at)s), until = greatest(until, %(until)s), resolved_at = %(resolved_at)s,
    severity = %(severity)s, title = %(title)s, explanation = %(explanation)s, details = %(details)s
where alert_id = %(alert_id)s
"""

DELIVER = """
insert into ops.alert_deliveries (alert_id, channel, delivery, due_at)
values (%(alert_id)s, %(channel)s, %(delivery)s, %(due_at)s)
on conflict (alert_id, channel) do update set delivery = excluded.delivery, due_at = excluded.due_at
where alert_deliveries.message_id is null and excluded.due_at < alert_deliveries.due_at
"""

LONGEST_ERROR = 500
OF_NOBODY = ("(none)", "unattributed")

# These say who a person is; a message names the budget alone.
OF_PERSONS = ("user", "visitor")


@dataclass(frozen=True)
class Collected:
    """How many alerts are new, and how many known ones grew worse."""

    raised: int
    worsened: int


def collect(connection: psycopg.Connection, rules: Rules, now: datetime) -> Collected:
    """Take what the marts of production and failed runs say into `ops.alerts`, and note who is to hear of it.

    Belongs in a transaction that holds the lock of the alerts. A relation that is not there has nothing to say.
    """
    found = anomalies_of(_rows(connection, "marts.fct_anomalies", ANOMALIES, {"severities": list(SEVERITIES)}))
    new = [alert for alert_id, alert, _ in found if alert_id is None]
    new += [budget_alert(row, rules) for row in _rows(connection, "marts.fct_budget_alerts", BUDGET_ALERTS)]
    new += [run_alert(row) for row in _rows(connection, "ops.run_failures", RUN_FAILURES)]
    worsened = 0
    for alert_id, alert, before in found:
        if alert_id is not None:
            worsened += SEVERITIES.index(alert.severity) > SEVERITIES.index(before)
            grow(connection, rules, now, alert_id, alert, before)
    if _is_built(connection, "marts.fct_anomalies"):
        connection.execute(END_WITHDRAWN, {"now": now})
    return Collected(raise_alerts(connection, rules, now, new), worsened)


def raise_alerts(connection: psycopg.Connection, rules: Rules, now: datetime, alerts: Iterable[Alert]) -> int:
    """Keep alerts that are not known yet, and who is to hear of them; returns how many there were."""
    raised = 0
    for alert in alerts:
        kept = connection.execute(INSERT, {"key": alert.key, "raised_at": now, **_columns(alert)}).fetchone()
        if kept:
            raised += 1
            route(connection, rules, now, kept[0], alert)
    return raised


def grow(connection: psycopg.Connection, rules: Rules, now: datetime, alert_id: int, alert: Alert, before: str) -> None:
    """Keep what became of a known anomaly. A graver one goes to the channels that were not told yet."""
    severity = worst([alert.severity, before])
    connection.execute(GROW, {"alert_id": alert_id, **_columns(alert), "severity": severity})
    if severity != before:
        route(connection, rules, now, alert_id, alert)


def route(connection: psycopg.Connection, rules: Rules, now: datetime, alert_id: int, alert: Alert) -> None:
    """Note which channels are to hear of an alert, and when."""
    is_late = alert.until < now - timedelta(hours=rules.number("late_hours"))
    for channel, wanted in rules.deliveries(alert.kind, alert.severity).items():
        habits = rules.habits[channel]
        delivery = DIGEST if is_late else wanted
        due_at = now
        if delivery == DIGEST:
            due_at = habits.next_digest(now)
        elif delivery == AFTER_QUIET_HOURS:
            due_at = habits.after_quiet_hours(now)
        connection.execute(DELIVER, {"alert_id": alert_id, "channel": channel, "delivery": delivery, "due_at": due_at})


def anomalies_of(rows: Iterable[Mapping[str, Any]]) -> list[tuple[int | None, Alert, str]]:
    """The known alert's id, the anomaly, and how grave it was; several parts of one known alert are one."""
    parts: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    found: list[tuple[int | None, Alert, str]] = []
    for row in rows:
        if row["alert_id"] is None:
            found.append((None, anomaly_alert([row]), INFO))
        else:
            parts[row["alert_id"]].append(row)
    found += [(alert_id, anomaly_alert(rows), rows[0]["known_severity"]) for alert_id, rows in parts.items()]
    return found


def anomaly_alert(rows: list[Mapping[str, Any]]) -> Alert:
    """The alert of an anomaly, or of what late data made several of; the gravest part speaks for it."""
    row = max(rows, key=lambda part: (SEVERITIES.index(part["severity"]), part["until"]))
    anomaly = row["anomaly"]
    words = str(anomaly["kind"]).replace("_", " ")
    subject = f"{anomaly.get('metric', row['rule'])} of {row['scope'] or 'all'}"
    ended = [part["resolved_at"] for part in rows]
    return Alert(
        source="anomaly",
        kind=anomaly["kind"],
        rule=row["rule"],
        scope=row["scope"],
        first_at=min(part["first_at"] for part in rows),
        until=max(part["until"] for part in rows),
        severity=row["severity"],
        title=f"{words[:1].upper()}{words[1:]}: {subject}",
        explanation=anomaly.get("explanation") or explained(anomaly, subject, row["first_at"]),
        details=_anomaly_details(anomaly, row),
        resolved_at=None if None in ended else max(ended),
    )


def _anomaly_details(anomaly: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    details = {
        "rule": row["rule"],
        "seen": _measure(anomaly, "current"),
        "expected": _measure(anomaly, "expected"),
        "bounds": _bounds(anomaly),
        "moved most by": _contributors(anomaly.get("contributors")),
    }
    return {name: value for name, value in details.items() if value}


def explained(anomaly: Mapping[str, Any], subject: str, first_at: datetime) -> str:
    """A sentence for an anomaly that has none of its own."""
    expected = _measure(anomaly, "expected")
    against = f" against {expected} expected" if expected else ""
    bounds = f" ({_bounds(anomaly)})" if _bounds(anomaly) else ""
    at = first_at.astimezone(timezone.utc)
    return f"{subject} was {_measure(anomaly, 'current')}{against}{bounds} at {at:%Y-%m-%d %H:%M} UTC"


def _bounds(anomaly: Mapping[str, Any]) -> str:
    lower, upper = (_measure(anomaly, name) for name in ("lower", "upper"))
    if lower and upper:
        return f"{lower} to {upper}"
    return f"at least {lower}" if lower else f"at most {upper}" if upper else ""


def _measure(anomaly: Mapping[str, Any], name: str) -> str:
    """A number of an anomaly, in words; its column may say what kind of number it is."""
    told = (anomaly.get(column) for column in (name, f"{name}_value", f"{name}_bound"))
    return _number(next((value for value in told if value is not None), None))


def _contributors(told: Sequence[Mapping[str, Any]] | None) -> str:
    """The first three parts that moved an anomaly, by kind and name; what nobody owns is left out."""
    named = [part for part in told or () if part.get("name") not in (None, *OF_NOBODY)]
    return ", ".join(f"{part.get('kind', 'part')} {part['name']}" for part in named[:3])


def _number(value: Any) -> str:
    """Three digits after the point at most, and no more than tell something."""
    if value is None:
        return ""
    number = Decimal(str(value))
    digits = 0 if abs(number) >= 1000 else 2 if abs(number) >= 1 else 4
    rounded = f"{number:,.{digits}f}"
    return (rounded.rstrip("0").rstrip(".") if "." in rounded else rounded) or "0"


def budget_alert(row: Mapping[str, Any], rules: Rules) -> Alert:
    """The alert of a budget's crossing, a row of `fct_budget_alerts`."""
    rate = row["threshold_rate"]
    crossed = datetime.combine(row["crossed_date"], datetime.min.time(), timezone.utc)
    severity = next(
        (name for name in (CRITICAL, WARNING) if rate >= rules.settings[f"{name}_budget_rate"]),
        INFO,
    )
    named = row["scope"] and row["scope_value"] not in (None, "all") and row["scope"] not in OF_PERSONS
    whose = f" of {row['scope']} {row['scope_value']}" if named else ""
    return Alert(
        source="budget",
        kind=BUDGET_KIND,
        rule=f"{row['budget']} {row['period']} {_plain(rate)}",
        scope=str(row["period_start_date"]),
        first_at=crossed,
        until=crossed + timedelta(days=1),
        severity=severity,
        title=f"Budget {row['budget']}: {_plain(rate * 100)} % reached",
        explanation=(
            f"Costs{whose} came to ${row['spent_usd']:,.2f} of ${row['amount_usd']:,.2f} on {row['crossed_date']}, "
            f"in the {row['period']} from {row['period_start_date']}"
        ),
        details={
            "budget": row["budget"],
            "period": f"{row['period_start_date']} to {row['period_end_date']}",
            "spent": f"${row['spent_usd']:,.2f}",
            "amount": f"${row['amount_usd']:,.2f}",
        },
    )


def run_alert(row: Mapping[str, Any]) -> Alert:
    """The alert of a run that failed for good, a row of `ops.run_failures`."""
    return Alert(
        source="run",
        kind=RUN_KIND,
        rule=row["job"],
        scope=row["run_id"],
        first_at=row["failed_at"],
        until=row["failed_at"],
        severity=CRITICAL,
        title=f"The job {row['job']} failed",
        explanation=row["error"][:LONGEST_ERROR],
        details={"run": row["run_id"]},
    )


def _plain(number: Decimal) -> str:
    """As PostgreSQL's trim_scale writes it."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _columns(alert: Alert) -> dict[str, Any]:
    names = ("source", "kind", "rule", "scope", "first_at", "until", "severity", "title", "explanation", "resolved_at")
    return {name: getattr(alert, name) for name in names} | {"details": Json(dict(alert.details))}


def _is_built(connection: psycopg.Connection, mart: str) -> bool:
    return connection.execute("select to_regclass(%s) is not null", [mart]).fetchone() == (True,)


def _rows(
    connection: psycopg.Connection, mart: str, statement: str, told: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    if not _is_built(connection, mart):
        return []
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, told).fetchall()
