"""The days an export covers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from ingest.errors import TidemarkError

LONGEST_DAYS = 3660
DAYS = re.compile(r"([1-9][0-9]{0,3})d")
MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")


@dataclass(frozen=True)
class Period:
    """UTC days, both ends included. `name` is that of the export's folder."""

    first: date
    last: date
    name: str


def period_of(
    today: date,
    *,
    month: str | None = None,
    days: str | None = None,
    first: str | None = None,
    last: str | None = None,
) -> Period:
    """The period told in one of three ways: a month (2026-03), whole days before today (30d), or two days.

    With nothing told it is the month before today's.

    Raises:
        TidemarkError: it is told in several ways, or badly.
    """
    ways = [bool(month), bool(days), bool(first or last)]
    if sum(ways) > 1:
        raise TidemarkError("Tell the period in one way: a month, a number of days, or two days.")
    if days:
        found = DAYS.fullmatch(days)
        if not found or int(found[1]) > LONGEST_DAYS:
            raise TidemarkError(f"{days!r} is no number of days such as 30d, {LONGEST_DAYS}d at most.")
        return _period(today - timedelta(days=int(found[1])), today - timedelta(days=1))
    if first or last:
        if not (first and last):
            raise TidemarkError("A period has a first day and a last one: give both.")
        return _period(_day(first), _day(last))
    if not month:
        before = today.replace(day=1) - timedelta(days=1)
        month = f"{before:%Y-%m}"
    found = MONTH.fullmatch(month)
    if not found or not 1 <= int(found[2]) <= 12 or int(found[1]) < 1:
        raise TidemarkError(f"{month!r} is no month such as 2026-03.")
    begin = date(int(found[1]), int(found[2]), 1)
    return Period(begin, (begin + timedelta(days=32)).replace(day=1) - timedelta(days=1), month)


def _period(first: date, last: date) -> Period:
    if first > last:
        raise TidemarkError(f"The period ends on {last}, before it begins on {first}.")
    return Period(first, last, f"{first}_{last}")


def _day(told: str) -> date:
    try:
        return date.fromisoformat(told)
    except ValueError:
        raise TidemarkError(f"{told!r} is no day such as 2026-03-01.") from None
