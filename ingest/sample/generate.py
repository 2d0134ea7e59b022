"""Make a sample: play each day, record the truth, write the day's files."""

import json
from pathlib import Path
from random import Random
from typing import Any

from ingest.errors import TidemarkError
from ingest.sample import background, funnel, sittings, widget
from ingest.sample.clock import AS_OF_MS, DAY, HOUR, date_of, first_instant, iso, weekday_of
from ingest.sample.context import Sample
from ingest.sample.delivery import Delivery
from ingest.sample.incidents import COST_SPIKE, SIGN_IN_FAILURES, planted, turned_away
from ingest.sample.sittings import LONG_KINDS, SPECIAL_KINDS
from ingest.sample.truth import DEFINITIONS, Truth
from ingest.sample.world import APPS, Person, arrivals, make_people

MOST_DAYS = 400
WEB_VISITS_PER_PERSON = 0.36
SPECIAL_EVERY = 4
"""Every so many web visits, one of the odd kinds, in turn: even a small sample has them all."""
NEWCOMERS = 0.2
LAST_ARRIVAL = AS_OF_MS - DAY // 288
SHARED_COMPUTERS = 3


def write_sample(out: Path, seed: int = 7, days: int = 35, visitors: int = 400) -> dict[str, Any]:
    """Write a sample below `out` and return its truth, which is also written as `out/truth.json`.

    `days` end at `clock.AS_OF`; `visitors` people use the web app, half as many each the widget and the
    funnel. The same arguments give the same bytes. Raises `TidemarkError` when `out` is not an empty or a
    new folder, when it cannot be written, or when a number makes no sense.
    """
    if not 1 <= days <= MOST_DAYS:
        raise TidemarkError(f"--days must be from 1 to {MOST_DAYS}, not {days}")
    if visitors < 10:
        raise TidemarkError(f"--visitors must be at least 10, not {visitors}")
    _claim(out)
    try:
        return _write(out, seed, days, visitors)
    except OSError as error:
        raise TidemarkError(
            f"cannot write the sample to {out} ({error.strerror or error}):"
            " make room, or name another folder with --out"
        ) from error


def _claim(out: Path) -> None:
    """Make the folder; it must not hold anything, or answers would mix with an older sample's."""
    if out.exists() and not out.is_dir():
        raise TidemarkError(f"{out} is not a folder: name a new or an empty one with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        occupied = any(out.iterdir())
    except OSError as error:
        raise TidemarkError(f"cannot use {out}: {error.strerror}; name another folder with --out") from error
    if occupied:
        raise TidemarkError(f"{out} is not empty: empty it, or name a new folder with --out")


def _write(out: Path, seed: int, days: int, visitors: int) -> dict[str, Any]:
    def chance(part: str) -> Random:
        return Random(f"{seed}/{part}")  # noqa: S311 - it must repeat

    first_at = first_instant(days)
    truth = Truth(APPS, first_at)
    delivery = Delivery(out, chance("delivery"), truth, first_at, days)
    sample = Sample(chance("company"), truth, delivery, make_people(chance("people"), visitors))
    scheduler = _WebSchedule(sample, visitors)
    for day_at in range(first_at, AS_OF_MS, DAY):
        scheduler.play(day_at)
        _others(sample, day_at, first_at, visitors)
        truth.close_day(day_at + DAY)
        delivery.close_day(day_at)
    result = {
        "seed": seed,
        "days": days,
        "visitors": visitors,
        "as_of": iso(AS_OF_MS),
        "first_day": date_of(first_at),
        "last_day": date_of(AS_OF_MS - DAY),
        "apps": list(APPS),
        **truth.result(days),
        "incidents": [incident.described() for incident in planted(days)],
        "records": dict(delivery.records),
        "bad_lines": dict(delivery.bad_lines),
        "bad_elements": dict(delivery.bad_elements),
        "traps": {name: count for name, count in sorted(truth.traps.items()) if count},
        "definitions": DEFINITIONS,
    }
    (out / "truth.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


class _WebSchedule:
    """Decides who sits down at the web app when, and what kind of sitting it is."""

    def __init__(self, sample: Sample, visitors: int):
        self.sample = sample
        self.per_weekday = visitors * WEB_VISITS_PER_PERSON
        self._visits = 0

    def play(self, day_at: int) -> None:
        """All sittings that begin on one day."""
        for at in arrivals(self.sample.rng, day_at, self.per_weekday):
            if at >= LAST_ARRIVAL or turned_away(self.sample.rng, at):
                continue
            person = self._someone(at)
            if person is None:
                continue
            self._visits += 1
            sittings.visit(self.sample, person, at, self._kind(person, at))

    def _someone(self, at: int) -> Person | None:
        """Somebody who is not sitting there already; some come far oftener than others."""
        people, rng = self.sample.people, self.sample.rng
        for _ in range(20):
            share = rng.random()
            person = people[int(len(people) * (share if self.sample.chance(NEWCOMERS) else share * share))]
            if person.busy_until <= at:
                return person
        return None

    def _kind(self, person: Person, at: int) -> str:
        if self._visits % SPECIAL_EVERY == 0:
            kind = SPECIAL_KINDS[self._visits // SPECIAL_EVERY % len(SPECIAL_KINDS)]
            if at < AS_OF_MS - LONG_KINDS.get(kind, 0):
                return kind
        if person.jwt:
            return "plain"
        signs_in = self.sample.chance(0.7 if person.user_id else 0.2)
        return "sign_in" if signs_in else "look_around"


def _others(sample: Sample, day_at: int, first_at: int, visitors: int) -> None:
    """Everything but the web app on one day, and what is planted on it."""
    rng, people, day = sample.rng, sample.people, (day_at - first_at) // DAY
    half = max(5, visitors // 2)
    for at in arrivals(rng, day_at, half * 0.3):
        widget.visit(sample, int(rng.random() * half), at)
    for at in arrivals(rng, day_at, half * 0.3):
        visitor = int(rng.random() * half)
        # An anonymous id always turns out to be the same user, except on the shared computers.
        funnel.visit(sample, visitor, at, people[visitor])
    background.user_events(sample, day_at, visitors)
    background.program_requests(sample, day_at, visitors)
    background.other_streams(sample, day_at)
    background.without_consent(sample, day_at)
    if 1 <= day <= 5:
        for household in range(SHARED_COMPUTERS):
            funnel.shared_computer(sample, day_at, household, day - 1)
    if day % 7 == 2 and day_at + 3 * DAY < AS_OF_MS:
        background.monitor(sample, day_at + 11 * HOUR)
    if weekday_of(day_at) == 3:
        background.nobodys_event(sample, day_at + 13 * HOUR + int(rng.random() * HOUR))
    if day_at <= COST_SPIKE.start < day_at + DAY:
        background.cost_spike(sample, visitors)
    if day_at <= SIGN_IN_FAILURES.start < day_at + DAY:
        background.sign_in_failures(sample, visitors)
