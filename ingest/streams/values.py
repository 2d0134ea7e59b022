"""From a JSON value to the text PostgreSQL's COPY reads: one converter per kind of column.

A converter takes the decoded value and the field's name and returns text; the empty string stands for
"absent" (COPY is told so), which no column holds otherwise. A value that does not fit raises `Refusal`.
"""

import ipaddress
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

Converter = Callable[[Any, str], str]

ABSENT = frozenset(("", "null", "undefined", "NaN"))
# Two identifiers together must fit one B-tree entry (about 2,700 bytes), at up to 4 bytes a character.
IDENTIFIER_CHARACTERS = 255
LARGEST_COUNT = 2**62
LARGEST_INTEGER = 2**31 - 1
NUMBER_CHARACTERS = 400
NUMBER_MAGNITUDE = 400
# Shorter ones are within every limit unless they have an exponent: the common case, decided quickly.
SHORT_NUMBER = 15
LONGEST_ABSENT = 9
MONEY_INTEGER_DIGITS = 15
MONEY_DECIMALS = 30
FIRST_YEAR, LAST_YEAR = 1970, 2200
# Epoch numbers below this are seconds (until the year 5138), from there on milliseconds (from 1973).
FIRST_EPOCH_MILLISECONDS = 100_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

TIME_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*(?:([Zz])|([+-])(\d\d)(?::?(\d\d))?(?::?\d\d)?)?)?"
)
EPOCH_TEXT = re.compile(r"\d{9,14}")
WHOLE_TEXT = re.compile(r"-?\d{1,20}")
NUMBER_TEXT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?")

canonical_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="number")


def is_absent(value: Any) -> bool:
    """Whether a producer meant "nothing": null, undefined, NaN or the empty string."""
    return value is None or (type(value) is str and value in ABSENT)


def exact(literal: str) -> Decimal:
    """A JSON number with a fraction or exponent, digit for digit. Beyond what `numeric` holds: ValueError."""
    if len(literal) <= SHORT_NUMBER and "e" not in literal and "E" not in literal:
        return Decimal(literal)
    if len(literal) > NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(literal)} characters is out of range")
    number = Decimal(literal)
    if not -NUMBER_MAGNITUDE < number.adjusted() < NUMBER_MAGNITUDE:
        raise ValueError(f"the number {literal} is out of range")
    return number


def shown(value: Any) -> str:
    """A value as a reason may quote it: at most 60 characters."""
    try:
        text = canonical_encoder.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        text = str(type(value).__name__)
    return text if len(text) <= 60 else text[:57] + "..."


def text(value: Any, field: str) -> str:
    """A string, or a number told as one."""
    kind = type(value)
    if kind is str:
        return value if len(value) > LONGEST_ABSENT or value not in ABSENT else ""
    if kind is int:
        return str(value)
    if kind is Decimal:
        return plain(value)
    if value is None:
        return ""
    raise Refusal(f"needs text, not {shown(value)}", field)


def prose(value: Any, field: str) -> str:
    """Text for people to read; anything else is told as JSON."""
    return json(value) if type(value) in (dict, list, bool) else text(value, field)


def identifier(value: Any, field: str) -> str:
    """Text short enough to be a key of raw and of every mart."""
    if type(value) is str and LONGEST_ABSENT < len(value) <= IDENTIFIER_CHARACTERS:
        return value
    result = text(value, field)
    if len(result) > IDENTIFIER_CHARACTERS:
        raise Refusal(f"is longer than {IDENTIFIER_CHARACTERS} characters", field)
    return result


def boolean(value: Any, field: str) -> str:
    """true, false, and the strings and numbers that say so."""
    if is_absent(value):
        return ""
    if value is True or value in ("true", "True", "TRUE", 1, "1"):
        return "t"
    if value is False or value in ("false", "False", "FALSE", 0, "0"):
        return "f"
    raise Refusal(f"needs true or false, not {shown(value)}", field)


def whole(value: Any, field: str, low: int = 0, high: int = LARGEST_COUNT, rounding: bool = False) -> int | None:
    """A whole number within `low` and `high`, None when absent; `rounding` takes fractions to the nearest."""
    kind = type(value)
    if kind is str:
        value = value.strip()
        if value in ABSENT:
            return None
        if not NUMBER_TEXT.fullmatch(value):
            raise Refusal(f"needs a whole number, not {shown(value)}", field)
        value = int(value) if WHOLE_TEXT.fullmatch(value) else in_range(value, field)
        kind = type(value)
    if kind is Decimal:
        if not low - 1 < value < high + 1:
            raise Refusal(f"is out of range: {shown(value)}", field)
        nearest = int(value.to_integral_value())
        if nearest != value and not rounding:
            raise Refusal(f"needs a whole number, not {shown(value)}", field)
        value = nearest
    elif value is None:
        return None
    elif kind is not int:
        raise Refusal(f"needs a whole number, not {shown(value)}", field)
    if not low <= value <= high:
        raise Refusal(f"is out of range: {shown(value)}", field)
    return value


def count(value: Any, field: str) -> str:
    """A count such as tokens: 0 to 2^62."""
    if type(value) is int and 0 <= value <= LARGEST_COUNT:
        return str(value)
    number = whole(value, field)
    return "" if number is None else str(number)


def milliseconds(value: Any, field: str) -> str:
    """A duration in milliseconds, 0 to 2^62; a browser's fractions are rounded."""
    number = whole(value, field, rounding=True)
    return "" if number is None else str(number)


def integer(value: Any, field: str) -> str:
    """A small whole number such as a screen size in pixels or a status code."""
    number = whole(value, field, high=LARGEST_INTEGER, rounding=True)
    return "" if number is None else str(number)


def in_range(literal: str, field: str) -> Decimal:
    """`exact` for a number told as a string."""
    try:
        return exact(literal)
    except ValueError as error:
        raise Refusal(str(error), field) from None


def decimal(value: Any, field: str) -> Decimal | int | None:
    """A number, exactly as told; None when absent."""
    kind = type(value)
    if kind is int or kind is Decimal:
        return value
    if kind is str:
        value = value.strip()
        if value in ABSENT:
            return None
        if NUMBER_TEXT.fullmatch(value):
            return in_range(value, field)
    elif value is None:
        return None
    raise Refusal(f"needs a number, not {shown(value)}", field)


def plain(number: Decimal | int) -> str:
    """A number in digits, no exponent, every digit kept."""
    return format(number, "f") if type(number) is Decimal else str(number)


def money(value: Any, field: str) -> str:
    """An amount in the record's currency, below 10^15 either way, digit for digit."""
    number = decimal(value, field)
    if number is None:
        return ""
    digits = str(number)
    if len(digits) <= SHORT_NUMBER and "E" not in digits:
        return digits
    if not -(10**MONEY_INTEGER_DIGITS) < number < 10**MONEY_INTEGER_DIGITS:
        raise Refusal(f"is out of range: {shown(number)}", field)
    digits = plain(number)
    if len(digits.partition(".")[2]) > MONEY_DECIMALS:
        raise Refusal(f"has more than {MONEY_DECIMALS} decimals: {shown(number)}", field)
    return digits


def cost(value: Any, field: str) -> str:
    """A cost in US dollars: money that is not negative."""
    digits = money(value, field)
    if digits.startswith("-") and digits.strip("-0."):
        raise Refusal(f"is out of range: {digits}", field)
    return digits.removeprefix("-")


@lru_cache(maxsize=4096)
def address(value: Any, field: str) -> str:
    """An IPv4 or IPv6 address."""
    if is_absent(value):
        return ""
    try:
        if type(value) is str and "%" not in value:
            return str(ipaddress.ip_address(value.strip()))
    except ValueError:
        pass
    raise Refusal(f"needs an IP address, not {shown(value)}", field)


def network_address(value: Any, field: str) -> str:
    """`address`, also for values that cannot be cached."""
    if type(value) in (dict, list):
        raise Refusal(f"needs an IP address, not {shown(value)}", field)
    return address(value, field)


def moment(value: Any, field: str) -> datetime | None:
    """A time in UTC; None when absent.

    ISO 8601 with or without zone (none means UTC), PostgreSQL's own text, epoch seconds or milliseconds as a
    number or as a string of 9 to 14 digits. Years 1970 to 2200.
    """
    kind = type(value)
    if kind is str:
        try:
            time = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            if value in ABSENT:
                return None
            time = time_of_text(value.strip(), field)
    elif kind is int or kind is Decimal:
        time = time_of_epoch(value, field)
    elif value is None:
        return None
    else:
        raise Refusal(f"needs a time, not {shown(value)}", field)
    return in_utc(time, value, field)


def in_utc(time: datetime, value: Any, field: str) -> datetime:
    """A time as its instant in UTC, without a zone taken for that; `value` is how it was told."""
    zone = time.tzinfo
    if zone is None:
        time = time.replace(tzinfo=timezone.utc)
    elif zone is not timezone.utc:
        try:
            time = time.astimezone(timezone.utc)
        except OverflowError:
            raise Refusal(f"is out of range: {shown(value)}", field) from None
    if not FIRST_YEAR <= time.year < LAST_YEAR:
        raise Refusal(f"is out of range (years {FIRST_YEAR} to {LAST_YEAR}): {shown(value)}", field)
    return time


def time_of_text(value: str, field: str) -> datetime:
    """A time written in a way RFC 3339 does not allow but producers and PostgreSQL use."""
    if EPOCH_TEXT.fullmatch(value):
        return time_of_epoch(int(value), field)
    match = TIME_TEXT.fullmatch(value)
    if not match:
        raise Refusal(f"needs a time, not {shown(value)}", field)
    year, month, day, hour, minute, second, fraction, _, sign, zone_hours, zone_minutes = match.groups()
    try:
        time = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")), tzinfo=timezone.utc,
        )  # fmt: skip
        if sign:
            offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes or 0))
            time = time - offset if sign == "+" else time + offset
    except (ValueError, OverflowError):
        raise Refusal(f"needs a time, not {shown(value)}", field) from None
    return time


def time_of_epoch(value: int | Decimal, field: str) -> datetime:
    """Epoch seconds or milliseconds, to the microsecond."""
    per_second = 1000 if abs(value) >= FIRST_EPOCH_MILLISECONDS else 1
    try:
        return EPOCH + timedelta(microseconds=int(Decimal(value) * 1_000_000 / per_second))
    except (OverflowError, ValueError):
        raise Refusal(f"is out of range: {shown(value)}", field) from None


def timestamp(value: Any, field: str) -> str:
    """A time as ISO text in UTC."""
    time = moment(value, field)
    return "" if time is None else iso(time)


def iso(time: datetime) -> str:
    """What `isoformat` gives for a time in UTC, in a seventh of its time."""
    return canonical_encoder.encode(time)[1:-2].decode() + "+00:00"


def iso_microseconds(time: datetime) -> str:
    """How times inside jsonb are written: 2026-03-02T09:00:00.000000Z, so that text order is time order."""
    return time.isoformat(timespec="microseconds")[:26] + "Z"


def json(value: Any) -> str:
    """Canonical JSON: keys sorted, numbers as sent."""
    return canonical_encoder.encode(value).decode()


def text_array(values: list[str]) -> str:
    """A PostgreSQL array literal of strings."""
    quoted = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    return "{" + ",".join(quoted) + "}"


class Refusal(ValueError):  # noqa: N818 - a field term: the record is refused
    """Why a value, and so its record or element, cannot be loaded; `field` names the column."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = str(self)
        self.field = field
