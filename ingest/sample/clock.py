"""Times of the sample: milliseconds since 1970, UTC, and how producers write them."""

import functools
from datetime import datetime, timedelta, timezone

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

AS_OF = datetime(2026, 4, 1, tzinfo=timezone.utc)
"""What "now" is for the sample: the first instant after its last day, whenever it is made."""

AS_OF_MS = int(AS_OF.timestamp()) * SECOND


def first_instant(days: int) -> int:
    """The first millisecond of a sample of `days` days, all of them before `AS_OF`."""
    return AS_OF_MS - days * DAY


@functools.lru_cache(maxsize=512)
def _date(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(days=day)).strftime("%Y-%m-%d")


def date_of(at: int) -> str:
    """The UTC date of a millisecond time, as `YYYY-MM-DD`."""
    return _date(at // DAY)


def weekday_of(at: int) -> int:
    """Monday is 0. The first of January 1970 was a Thursday."""
    return (at // DAY + 3) % 7


def iso(at: int) -> str:
    """As JavaScript's `toISOString` writes it: `2026-03-02T09:00:00.000Z`."""
    seconds, millisecond = divmod(at % DAY, SECOND)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_date(at // DAY)}T{hour:02d}:{minute:02d}:{second:02d}.{millisecond:03d}Z"


def postgres(at: int) -> str:
    """As a row exported from a `timestamptz` column reads: `2026-03-02 09:00:00.000+00`."""
    return iso(at).replace("T", " ").replace("Z", "+00")


def milliseconds(text: str) -> int:
    """The inverse of `iso`."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() * SECOND + 0.5)
