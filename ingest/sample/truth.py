"""What really happened: recorded while people act, never read back from what was sent.

Counts go to (app, UTC day). Visits come from a small sessionizer over the true times of activity. It keeps
one open run per session group and is fed day by day, so memory does not grow with the history.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ingest.sample.clock import AS_OF_MS, DAY, HOUR, MINUTE, date_of

VISIT_GAP = 30 * MINUTE
LONGEST_VISIT = 24 * HOUR

COUNTS = (
    "sessions",
    "conversions",
    "page_views",
    "goals",
    "errors",
    "llm_requests",
    "tokens",
    "unpriced_requests",
    "messages_sent",
    "messages_received",
    "widget_opens",
    "widget_loads",
)

DEFINITIONS = {
    "sessions": "visits by the day of their first activity; a gap of 30 minutes or more starts a new one",
    "conversions": "visits with at least one goal, by the day of their first activity",
    "page_views": "pages a person went to, by the time of the view; restored and repeated entries are none",
    "goals": "goals reached (distinct goal and time), conversion events and campaign conversions, by their time",
    "errors": "errors met, by their time; those a client trims or repeats count once",
    "llm_requests": "requests, stopped ones included; told by browser and server it is one",
    "tokens": "prompt and completion tokens; cached and reasoning tokens are part of these",
    "cost_usd": "what the server reported, else what the browser did",
    "unpriced_requests": "requests nobody gave a cost for; they add nothing to cost_usd",
    "visitors": "distinct persons with a visit that starts on the day: the user an anonymous id signed in as "
    "(its last sign-in before the visit, else its first), else the anonymous id, else the visit",
    "bad_lines": "lines the loader must reject when it loads each file once (byte-equal copies load nothing)",
    "bad_elements": "array elements to reject by themselves; the rest of their record loads",
    "reload": "a page shown again by a reload is no new view; with nothing restored the batch starts afresh "
    "and its first page is a view",
    "feedback": "a rating of a request is no activity and makes no visit",
}


def group_of(session_id: str | None, anonymous_id: str | None, user_id: str | None, event_id: str = "") -> str:
    """The session group of a record: its first present id, prefixed by the id's kind."""
    if session_id:
        return f"s:{session_id}"
    if anonymous_id:
        return f"a:{anonymous_id}"
    return f"u:{user_id}" if user_id else f"e:{event_id}"


@dataclass
class _Run:
    """The open run of a group: activity without a gap, cut into visits of at most a day."""

    app: str
    started_at: int
    last_at: int
    visit_started_at: int
    piece: int
    person: str
    converted: bool


@dataclass(frozen=True)
class _Activity:
    at: int
    app: str
    person: str
    converting: bool


class Truth:
    """Collects counts while the simulation runs; `close_day` after each simulated day, `result` at the end.

    A person is `u:<user id>` or `a:<anonymous id>`, or the session group when there is neither.
    """

    def __init__(self, apps: tuple[str, ...], first_at: int):
        self.apps = apps
        self.first_at = first_at
        self.traps: Counter[str] = Counter()
        self.interactions: Counter[str] = Counter()
        self._counts: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        self._cost: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
        self._visits: dict[tuple[str, int], set[tuple[str, int]]] = defaultdict(set)
        self._pending: dict[str, list[_Activity]] = defaultdict(list)
        self._runs: dict[str, _Run] = {}
        self._merged: dict[str, str] = {}
        self._sign_ins: dict[str, set[tuple[int, str]]] = defaultdict(set)
        self._shared: set[str] = set()

    def trap(self, name: str, count: int = 1) -> None:
        """Count a trap that was planted."""
        self.traps[name] += count

    def activity(self, app: str, group: str, at: int, person: str, converting: bool = False) -> None:
        """Something with a time happened in a session group."""
        if not self.first_at <= at < AS_OF_MS:
            raise AssertionError(f"activity of {group} at {at} lies outside the sample")
        group = self._merged.get(group, group)
        self._pending[group].append(_Activity(at, app, person, converting))

    def page_view(self, app: str, group: str, at: int, person: str) -> None:
        """A person went to a page."""
        self._count(app, at, "page_views")
        self.activity(app, group, at, person)

    def goal(self, app: str, group: str, at: int, person: str) -> None:
        """A person reached a goal; the visit converted."""
        self._count(app, at, "goals")
        self.activity(app, group, at, person, converting=True)

    def llm(self, app: str, group: str, at: int, person: str, tokens: int, cost: Decimal | None) -> None:
        """A model was asked; `cost` in US dollars, None when nobody reports one."""
        self._count(app, at, "llm_requests")
        self._count(app, at, "tokens", tokens)
        if cost is None:
            self._count(app, at, "unpriced_requests")
        else:
            self._cost[app, at // DAY] += cost
        self.activity(app, group, at, person)

    def count(self, app: str, at: int, what: str) -> None:
        """Count something that happened, one of COUNTS."""
        self._count(app, at, what)

    def merge(self, anonymous_group: str, user_group: str) -> None:
        """A sign-in in mid-batch: the whole anonymous session belongs to the user's session."""
        if anonymous_group in self._runs:
            raise AssertionError(f"{anonymous_group} was counted before it was merged")
        self._merged[anonymous_group] = user_group
        self._pending[user_group].extend(self._pending.pop(anonymous_group, ()))

    def signed_in(self, anonymous_id: str, user_id: str, at: int, shared: bool = False) -> None:
        """Evidence in the loaded streams that an anonymous id is a user; `shared` by several of them."""
        self._sign_ins[anonymous_id].add((at, user_id))
        if shared:
            self._shared.add(anonymous_id)

    def close_day(self, until: int) -> None:
        """Count what happened before `until`: no later call may tell of an earlier time."""
        for group in list(self._pending):
            activities = sorted(self._pending.pop(group), key=lambda activity: activity.at)
            for index, activity in enumerate(activities):
                if activity.at >= until:
                    self._pending[group] = activities[index:]
                    break
                self._feed(group, activity)
        for group in [g for g, run in self._runs.items() if run.last_at + VISIT_GAP <= until]:
            self._close(group)

    def result(self, days: int) -> dict[str, Any]:
        """Daily rows and totals. Call once, after the last day is closed."""
        for group in list(self._runs):
            self._close(group)
        if self._pending:
            raise AssertionError("activity after the last day")
        first_day = self.first_at // DAY
        daily = []
        everybody: dict[str, set[str]] = {app: set() for app in self.apps}
        for day in range(first_day, first_day + days):
            for app in self.apps:
                persons = {self._person(person, at) for person, at in self._visits[app, day]}
                everybody[app] |= persons
                daily.append(
                    {
                        "app_id": app,
                        "day": date_of(day * DAY),
                        **{name: self._counts[app, day][name] for name in COUNTS},
                        "cost_usd": _money(self._cost[app, day]),
                        "visitors": len(persons),
                    }
                )
        totals = {app: self._total([row for row in daily if row["app_id"] == app]) for app in self.apps}
        for app in self.apps:
            totals[app]["visitors"] = len(everybody[app])
        overall = self._total(daily)
        overall["visitors"] = len(set().union(*everybody.values()))
        return {
            "daily": daily,
            "totals": {"apps": totals, "all": overall},
            "interactions": dict(sorted(self.interactions.items())),
        }

    @staticmethod
    def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
        total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in COUNTS}
        total["cost_usd"] = _money(sum((Decimal(row["cost_usd"]) for row in rows), Decimal()))
        return total

    def _count(self, app: str, at: int, what: str, by: int = 1) -> None:
        self._counts[app, at // DAY][what] += by

    def _feed(self, group: str, activity: _Activity) -> None:
        run = self._runs.get(group)
        if run and activity.at - run.last_at >= VISIT_GAP:
            self._close(group)
            run = None
        if run is None:
            self._runs[group] = _Run(
                activity.app, activity.at, activity.at, activity.at, 0, activity.person, activity.converting
            )
            return
        if activity.app != run.app:
            raise AssertionError(f"{group} is in two apps")
        piece = (activity.at - run.started_at) // LONGEST_VISIT
        if piece > run.piece:
            self._record(run)
            run.piece, run.visit_started_at = piece, activity.at
            run.person, run.converted = activity.person, False
            self.trap("visit_cut_at_24_hours")
        run.last_at = activity.at
        run.converted |= activity.converting
        if activity.person.startswith("u:"):
            run.person = activity.person

    def _close(self, group: str) -> None:
        self._record(self._runs.pop(group))

    def _record(self, run: _Run) -> None:
        self._count(run.app, run.visit_started_at, "sessions")
        if run.converted:
            self._count(run.app, run.visit_started_at, "conversions")
        # Only an id several users share needs the time of the visit to tell whose it is.
        at = run.visit_started_at if run.person[2:] in self._shared else 0
        self._visits[run.app, run.visit_started_at // DAY].add((run.person, at))

    def _person(self, person: str, at: int) -> str:
        sign_ins = sorted(self._sign_ins.get(person[2:], ())) if person.startswith("a:") else []
        if not sign_ins:
            return person
        earlier = [user for signed_in_at, user in sign_ins if signed_in_at <= at]
        return f"u:{earlier[-1] if earlier else sign_ins[0][1]}"


def _money(amount: Decimal) -> str:
    """An exact decimal without exponent or trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
