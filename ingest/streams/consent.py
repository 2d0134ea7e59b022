"""Do-not-track and consent: which records say "do not", and what is kept of them.

A record says so by a do-not-track key that is true (`doNotTrack`, `do_not_track`, `dnt`) or a consent key that
is false (`consent`, `hasConsent`, `analyticsConsent`, `trackingConsent`, `consentGiven`, ...), in any spelling,
at its top or in an object such as `properties`, `metadata`, `context` or `consent` itself. Consent to something
else than analytics (`marketingConsent`) is not asked for. Absent and undecided values say nothing.

Such a record is still one row of raw, so that what came adds up; of what it says only app, time, name and
category stay. Its `session_group` begins with `w:` and holds nothing of the person. Nothing at all is kept of
one that is refused as well.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from ingest.streams.record import SEPARATOR, Refused, content_hash
from ingest.streams.shape import untyped

# Kept whole although the key may stand in it: it is there because the person asked.
EXEMPT_STREAMS = frozenset(("privacy_requests",))
REASON = "withheld: the person did not consent, so nothing of the record is kept; it could not be loaded either"

# Any record that says "do not" holds this, in lower case, unless its keys are written in escapes.
HINT = re.compile(rb"consent|dnt|not[ _-]?track|\\u00")
NOT_IN_A_KEY = re.compile(r"[^a-z0-9]")
DO_NOT_TRACK = re.compile(r"dnt|donottrack|consent(?:denied|refused|revoked|withdrawn)")
CONSENT = re.compile(
    r"(?:has|is|user|gdpr|cookies?)?(?:analytics|tracking|statistics)?consent(?:ed)?(?:is)?"
    r"(?:given|granted|accepted|status|state)?(?:to|for)?(?:analytics|tracking|statistics|cookies?)?"
)
# What an object of consents says of analytics; other purposes in it do not matter here.
PURPOSE = re.compile(r"(?:analytics|tracking|statistics)(?:storage|consent)?|given|granted|accepted|status|state|value")
CONTAINERS = frozenset(
    (
        *("properties", "metadata", "props", "context", "privacy", "traits", "set", "usermetadata", "userproperties"),
        *("headers", "browser", "device"),
    )
)
YES = frozenset(("true", "1", "1.0", "yes", "y", "t", "on", "enabled"))
NO = frozenset(
    (
        *("false", "0", "0.0", "no", "n", "f", "off", "disabled", "none", "denied", "deny", "declined", "refused"),
        *("rejected", "revoked", "withdrawn", "optout", "optedout"),
    )
)
DEEPEST_LEVEL = 4

# The same in bytes that are no JSON: a key and what follows it.
PAIR = re.compile(rb'([A-Za-z_$ .-]{3,40})\\?"\s*:\s*(?:\\?"([^"\\]{0,12})|([A-Za-z0-9.]{1,6})|\{(?=([^{}]{0,500})))')


def may_deny(text: bytes) -> bool:
    """Whether a record, or a whole block of them, is worth a closer look: no word of `HINT`, no denial."""
    lower = text.lower()
    # Plain searches first: they are far faster than the pattern.
    if b"consent" in lower or b"track" in lower or b"dnt" in lower or b"\\" in lower:
        return HINT.search(lower) is not None
    return False


def denies(record: bytes, with_events: bool = False) -> bool:
    """Whether a record says that its person is not to be tracked; `with_events`, whether an event of its own does."""
    if not may_deny(record):
        return False
    try:
        said = untyped.decode(record)
    except (ValueError, RecursionError):
        return text_denies(record)
    if type(said) is not dict:
        return text_denies(record)
    events = said.get("events") if with_events else None
    told = [said, *(event for event in events if type(event) is dict)] if type(events) is list else [said]
    return any(object_denies(one) for one in told)


def object_denies(said: Mapping[str, Any], level: int = 0, of_consents: bool = False) -> bool:
    """The same of a decoded object; in one `of_consents` the keys are purposes."""
    for key, value in said.items():
        name = bare(key)
        is_consent = CONSENT.fullmatch(name) is not None
        if type(value) is dict:
            inside = is_consent or name in CONTAINERS or (of_consents and PURPOSE.fullmatch(name) is not None)
            if inside and level < DEEPEST_LEVEL and object_denies(value, level + 1, is_consent or of_consents):
                return True
        elif DO_NOT_TRACK.fullmatch(name):
            if word(value) in YES:
                return True
        elif (is_consent or (of_consents and PURPOSE.fullmatch(name))) and word(value) in NO:
            return True
    return False


def text_denies(text: bytes, of_consents: bool = False) -> bool:
    """The same of bytes that cannot be decoded, wherever in them the key stands."""
    for key, quoted, literal, inside in PAIR.findall(text):
        name = bare(key.decode())
        is_consent = CONSENT.fullmatch(name) is not None
        value = word((quoted or literal).decode("utf-8", "replace"))
        if DO_NOT_TRACK.fullmatch(name) and value in YES:
            return True
        if (is_consent or (of_consents and PURPOSE.fullmatch(name))) and value in NO:
            return True
        if is_consent and inside and text_denies(inside, of_consents=True):
            return True
    return False


@lru_cache(maxsize=4096)
def bare(key: str) -> str:
    """A key without its style: `Do-Not-Track`, `doNotTrack` and `do_not_track` are `donottrack`."""
    return NOT_IN_A_KEY.sub("", key.lower())


def word(value: Any) -> str:
    """A value as one lower-case word: true, `"Opt-Out"` and 0 are `true`, `optout` and `0`; null is none."""
    return "" if value is None else re.sub(r"[\s_-]", "", str(value).lower())


def withheld_row(columns: Iterable[str], kept: Mapping[str, str], empty: Mapping[str, str]) -> str:
    """A row of which only `kept` says something. `empty` holds what stands for nothing in columns that must
    not be null; `{id}` in it becomes the row's hash, which is made of `kept` alone."""
    digest = content_hash(SEPARATOR.join(f"{name}={kept[name]}" for name in sorted(kept)))
    told = {
        "withheld": "t",
        "session_group": f"w:{digest}",
        "content_hash": digest,
        **{name: text.replace("{id}", digest) for name, text in empty.items()},
        **kept,
    }
    return SEPARATOR.join(told.get(name, "") for name in columns)


def without_person(stream: str, refusal: Refused) -> Refused:
    """A refused record as raw.rejects may keep it: emptied, its reason without a quotation, where it says
    "do not" itself or in an event of its own."""
    if stream in EXEMPT_STREAMS or not denies(refusal.record, with_events=True):
        return refusal
    return refusal._replace(record=b"", reason=REASON)
