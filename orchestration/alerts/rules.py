"""Who hears what, how and when: the seeds alert_routes, alert_channels and alert_settings.

They are read from the project's files: an edited route holds from the next alert on, and an error has its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from zoneinfo import ZoneInfo

from ingest.errors import TidemarkError
from orchestration.alerts.model import BUDGET_KIND, DELIVERIES, NEVER, RUN_KIND, SEVERITIES
from orchestration.seeds import FOLDER, rows_of

ANY = "any"
SETTINGS = (
    *("late_hours", "warning_budget_rate", "critical_budget_rate", "shown_alerts", "first_retry_seconds"),
    *("longest_retry_seconds", "blocking_attempts", "give_up_hours", "claim_seconds", "timeout_seconds"),
)


@dataclass(frozen=True)
class Habits:
    """When a channel may be disturbed. `group_from` alerts due at once become one message; None never groups."""

    channel: str
    zone: ZoneInfo
    quiet: tuple[time, time] | None
    digest_at: time
    group_from: int | None

    def after_quiet_hours(self, at: datetime) -> datetime:
        """`at`, or the end of the quiet hours it falls into."""
        if self.quiet is None:
            return at
        begins, ends = self.quiet
        local = at.astimezone(self.zone)
        now = local.time()
        is_quiet = begins <= now < ends if begins < ends else now >= begins or now < ends
        return self._next(local, ends) if is_quiet else at

    def next_digest(self, at: datetime) -> datetime:
        """The first digest after `at`."""
        return self._next(at.astimezone(self.zone), self.digest_at)

    def _next(self, local: datetime, wanted: time) -> datetime:
        for days in range(3):
            day = local.date() + timedelta(days=days)
            found = datetime.combine(day, wanted, self.zone).astimezone(timezone.utc)
            if found > local:
                return found
        raise AssertionError("a day has every time of day")


@dataclass(frozen=True)
class Rules:
    """The three seeds. `routes` is (kind, severity, channel) → delivery, with `any` for either of the first two."""

    routes: Mapping[tuple[str, str, str], str]
    habits: Mapping[str, Habits]
    settings: Mapping[str, Decimal]

    def deliveries(self, kind: str, severity: str) -> dict[str, str]:
        """Channel → delivery of an alert; for each channel the most telling route holds, `never` leaves it out."""
        found = {}
        for channel in self.habits:
            for route in ((kind, severity), (kind, ANY), (ANY, severity), (ANY, ANY)):
                delivery = self.routes.get((*route, channel))
                if delivery:
                    if delivery != NEVER:
                        found[channel] = delivery
                    break
        return found

    def number(self, setting: str) -> int:
        return int(self.settings[setting])


def read_rules(folder: Path = FOLDER) -> Rules:
    """The rules as the seeds in `folder` say.

    Raises:
        TidemarkError: a seed cannot be read; says file and line.
    """
    habits = {}
    for place, row in rows_of(folder / "alert_channels.csv"):
        channel = _given(place, row, "channel")
        if channel in habits:
            raise _broken(place, f"channel {channel!r} stands there twice")
        habits[channel] = _habits(place, channel, row)
    kinds = {BUDGET_KIND, RUN_KIND, ANY} | {row.get("kind") for _, row in rows_of(folder / "metrics.csv")}
    routes = {}
    for place, row in rows_of(folder / "alert_routes.csv"):
        kind = _one_of(place, row, "kind", kinds)
        severity = _one_of(place, row, "severity", (*SEVERITIES, ANY))
        channel = _one_of(place, row, "channel", habits)
        if (kind, severity, channel) in routes:
            raise _broken(place, f"the route of {kind}, {severity} to {channel} stands there twice")
        routes[kind, severity, channel] = _one_of(place, row, "delivery", DELIVERIES)
    return Rules(routes, habits, _settings(folder / "alert_settings.csv"))


def _habits(place: str, channel: str, row: Mapping[str, str]) -> Habits:
    name = _given(place, row, "time_zone")
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise _broken(place, f"there is no time zone {name!r}") from error
    begins, ends = (_time(place, row, column) for column in ("quiet_from", "quiet_to"))
    if (begins is None) != (ends is None) or (begins is not None and begins == ends):
        raise _broken(place, "quiet hours need quiet_from and quiet_to, and they differ")
    digest_at = _time(place, row, "digest_at")
    if digest_at is None:
        raise _broken(place, "digest_at is missing")
    group_from = row.get("group_from") or None
    if group_from is not None and (not group_from.isascii() or not group_from.isdigit() or int(group_from) < 2):
        raise _broken(place, f"group_from is {group_from!r}, not a count from 2 up")
    quiet = (begins, ends) if begins is not None and ends is not None else None
    return Habits(channel, zone, quiet, digest_at, int(group_from) if group_from else None)


def _time(place: str, row: Mapping[str, str], column: str) -> time | None:
    told = row.get(column)
    if not told:
        return None
    try:
        return datetime.strptime(told, "%H:%M").time()
    except ValueError as error:
        raise _broken(place, f"{column} is {told!r}, not a time such as 22:00") from error


def _settings(path: Path) -> dict[str, Decimal]:
    settings = {}
    for place, row in rows_of(path):
        name = _one_of(place, row, "setting", SETTINGS)
        try:
            settings[name] = Decimal(row.get("value") or "")
        except InvalidOperation:
            settings[name] = Decimal("nan")
        if not settings[name].is_finite() or settings[name] <= 0:
            raise _broken(place, f"{name} is {row.get('value')!r}, not a number above 0")
    missing = sorted(set(SETTINGS) - settings.keys())
    if missing:
        raise TidemarkError(f"seeds/{path.name}: {', '.join(missing)} is missing: add it.")
    return settings


def _given(place: str, row: Mapping[str, str], column: str) -> str:
    if not row.get(column):
        raise _broken(place, f"{column} is missing")
    return row[column]


def _one_of(place: str, row: Mapping[str, str], column: str, known: object) -> str:
    told = _given(place, row, column)
    if told not in known:  # type: ignore[operator]
        raise _broken(place, f"{column} is {told!r}, none of {', '.join(sorted(map(str, known)))}")  # type: ignore[call-overload]
    return told


def _broken(place: str, what: str) -> TidemarkError:
    return TidemarkError(f"{place}: {what}: mend it.")
