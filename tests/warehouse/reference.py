"""What visits and visitors must be by the rules of docs/sessions.md, in plain Python: for histories of events and
identify calls. It knows no loads, no work list and no SQL.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ingest.sample.clock import DAY, MINUTE, milliseconds
from tests.warehouse.histories import History

GAP = 30 * MINUTE
PAGE_EVENTS = ("page_view", "landing_page_view")
STREAMS = ("events", "identifies")


class Told(NamedTuple):
    """What a record says of who did something when (ms); `key` is None for an identify call."""

    group: str
    key: str | None
    at: int
    session: str | None
    anonymous: str | None
    user: str | None
    is_page: bool


class Visit(NamedTuple):
    """A visit, times in ms. The group of an event without any id is `e:`."""

    group: str
    started_at: int
    ended_at: int
    user: str | None
    anonymous: str | None
    events: int
    pages: int


class Alias(NamedTuple):
    """An anonymous id is a user from a time (always, if None) until another."""

    anonymous: str
    valid_from: int | None
    valid_to: int | None
    user: str


def is_plain(history: History) -> bool:
    """Whether the history is of the streams this reference knows."""
    return all(sent.stream in STREAMS for sent in history.sent)


def told(lines: Iterable[tuple[str, bytes]]) -> list[Told]:
    """What the records, each with its stream, tell; those without consent tell nothing."""
    found = []
    for stream, line in lines:
        record = json.loads(line)
        if record.get("doNotTrack"):
            continue
        for event in _events(record):
            found.append(_told(stream, event))
    return found


def _events(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    events = record.pop("events", None)
    if events is None:
        yield record
    else:
        yield from ({**record, **event} for event in events)


def _told(stream: str, record: dict[str, Any]) -> Told:
    session, user = record.get("sessionId"), record.get("userId") or record.get("user_id")
    anonymous = record.get("anonymousId") or record.get("anonymous_id")
    if stream == "identifies":
        return Told("", None, event_time(record), session, anonymous, user, False)
    key = record.get("eventId") or json.dumps(record, sort_keys=True)
    group = f"s:{session}" if session else f"a:{anonymous}" if anonymous else f"u:{user}" if user else f"e:{key}"
    name = record.get("eventName") or record.get("event_name") or record.get("action")
    is_page = name in PAGE_EVENTS and bool(record.get("page_url"))
    return Told(group, key, event_time(record), session, anonymous, user, is_page)


def event_time(record: dict[str, Any]) -> int:
    """The client's time, unless it is more than a day from the server's; else the server's, else the record's own."""
    client, server = (milliseconds(record[key]) if key in record else None for key in ("client_timestamp", "timestamp"))
    if client is not None and (server is None or abs(client - server) <= DAY):
        return client
    return server if server is not None else record["createdAt"]


def first_told(records: Iterable[Told]) -> set[int]:
    """Places of the records that are events: of those with the same id in the same group the earliest is."""
    first: dict[tuple[str, str], int] = {}
    for place, record in sorted(enumerate(records), key=lambda placed: placed[1].at):
        if record.key is not None:
            first.setdefault((record.group, record.key), place)
    return set(first.values())


def sign_ins(records: list[Told]) -> dict[str, list[tuple[int, str]]]:
    """Anonymous id → when which user signed in, in order. One record names both, or a session had the anonymous id no
    later than the user."""
    evidence: dict[str, set[tuple[int, str]]] = defaultdict(set)
    users: dict[str, dict[str, int]] = defaultdict(dict)
    visitors: dict[str, dict[str, int]] = defaultdict(dict)
    for record in records:
        if record.anonymous and record.user:
            evidence[record.anonymous].add((record.at, record.user))
        if record.session:
            for known, who in ((users, record.user), (visitors, record.anonymous)):
                if who:
                    known[record.session][who] = min(record.at, known[record.session].get(who, record.at))
    for session, signed_in in users.items():
        for user, at in signed_in.items():
            for anonymous, first_at in visitors[session].items():
                if first_at <= at:
                    evidence[anonymous].add((at, user))
    return {anonymous: sorted(times) for anonymous, times in evidence.items()}


def user_at(times: list[tuple[int, str]], at: int) -> str | None:
    """The user of the last sign-in at or before a time, else of the first one."""
    if not times:
        return None
    place = bisect_right(times, at, key=lambda sign_in: sign_in[0])
    return times[max(place - 1, 0)][1]


def aliases(records: list[Told]) -> list[Alias]:
    """The periods in which anonymous ids are one user."""
    found = []
    for anonymous, times in sign_ins(records).items():
        changes = [times[0]]
        for sign_in in times[1:]:
            if sign_in[1] != changes[-1][1]:
                changes.append(sign_in)
        for number, (at, user) in enumerate(changes):
            until = changes[number + 1][0] if number + 1 < len(changes) else None
            found.append(Alias(anonymous, at if number else None, until, user))
    return sorted(found, key=str)


def visits(records: list[Told]) -> list[Visit]:
    """The visits: cut at gaps of 30 minutes, and every 24 hours of a run. An event told again at another time is one
    event, and activity at both times."""
    known, events = sign_ins(records), first_told(records)
    groups: dict[str, list[tuple[Told, bool]]] = defaultdict(list)
    for place, record in enumerate(records):
        if record.key is not None:
            groups[record.group].append((record, place in events))
    found = []
    for group, activities in groups.items():
        for piece in _pieces(sorted(activities, key=lambda activity: activity[0].at)):
            found.append(_visit(group, piece, known))
    return sorted(found, key=str)


def _pieces(activities: list[tuple[Told, bool]]) -> Iterator[list[tuple[Told, bool]]]:
    piece: list[tuple[Told, bool]] = []
    run_start = last_at = 0
    for activity in activities:
        at = activity[0].at
        if not piece or at - last_at >= GAP:
            run_start, starts = at, True
        else:
            starts = (at - run_start) // DAY > (last_at - run_start) // DAY
        if starts and piece:
            yield piece
            piece = []
        piece.append(activity)
        last_at = at
    if piece:
        yield piece


def _visit(group: str, activities: list[tuple[Told, bool]], known: dict[str, list[tuple[int, str]]]) -> Visit:
    records = [record for record, _ in activities]
    events = [record for record, is_event in activities if is_event]
    users = sorted((-record.at, record.user) for record in records if record.user)
    ids = sorted((record.at, record.anonymous) for record in records if record.anonymous)
    anonymous = ids[0][1] if ids else None
    started_at = records[0].at
    return Visit(
        group="e:" if group.startswith("e:") else group,
        started_at=started_at,
        ended_at=records[-1].at,
        user=users[0][1] if users else user_at(known.get(anonymous or "", []), started_at),
        anonymous=anonymous,
        events=len(events),
        pages=sum(event.is_page for event in events),
    )
