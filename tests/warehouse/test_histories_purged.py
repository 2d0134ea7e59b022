"""Law 3 on generated histories: closing days between the loads changes nothing that is kept longer than they are."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone

import pytest

from ingest.sample.clock import DAY, milliseconds
from tests.warehouse.conftest import Warehouse, assert_same
from tests.warehouse.histories import DELIVERY_DAYS, FIRST_INSTANT, History, generated
from tests.warehouse.proving import Differences, differences, explained, loads_of
from tests.warehouse.reference import event_time

purging = pytest.importorskip("orchestration.purge")

SEED = int(os.environ.get("TIDEMARK_HISTORIES_SEED", "2027"))
COUNT = int(os.environ.get("TIDEMARK_HISTORIES", "240"))
ROUNDS = 4
DAYS_OPEN = 6
"""A purge after a round leaves so many days before the end of the round open."""

KEPT = (
    "marts.fct_sessions",
    "marts.fct_llm_requests",
    "marts.dim_visitors",
    "marts.dim_visitor_apps",
    "marts.visitor_aliases",
    "marts.agg_daily_stats",
    "marts.agg_cost_daily",
)

AS_OF = "2026-03-03T00:00:00+00:00"
"""Early: the gap-free series of watched metrics of all apps end here."""

Arrived = list[tuple[str, bytes]]


def horizon_after(number: int) -> int:
    """The horizon (ms) that is set after a round, from 0: a midnight."""
    return FIRST_INSTANT + int((number + 1) * DELIVERY_DAYS / ROUNDS - DAYS_OPEN) * DAY


def arriving(histories: Mapping[int, History]) -> list[Arrived]:
    """The records of each round."""
    rounds: list[Arrived] = [[] for _ in range(ROUNDS)]
    for number, history in histories.items():
        for sent, line in history.lines(number, apart=False):
            for place in sent.rounds:
                rounds[int(place * ROUNDS)].append((sent.stream, line))
    return rounds


def in_time(rounds: list[Arrived]) -> Iterator[tuple[str, bytes]]:
    """The records, and elements of bodies, that tell of no day that was closed when they arrived."""
    for number, arrived in enumerate(rounds):
        horizon = horizon_after(number - 1) if number else 0
        for stream, line in arrived:
            record = json.loads(line)
            if stream == "events" and "events" in record:
                record["events"] = [event for event in record["events"] if event_time(event) >= horizon]
                if record["events"]:
                    yield stream, json.dumps(record, separators=(",", ":")).encode()
            elif stream == "identifies" or record.get("type") == "feedback" or time_of(stream, record) >= horizon:
                yield stream, line


def is_clear(history: History) -> bool:
    """Whether what a purge closes is closed to all that comes later.

    Left out are histories in which a single record that comes later would change a closed day without a purge: no
    batch's clock jumped, and none that began in an open day carries what happened in a closed one (after a reload);
    what comes later neither rates a closed request, tells it again, nor counts a session with closed visits anew, nor
    signs somebody in in the middle of a batch whose anonymous session has closed visits.
    """
    told = [(sent.stream, json.loads(sent.text), max(sent.rounds)) for sent in history.sent]
    batches = [(record, place) for stream, record, place in told if stream == "session_batches"]
    if any(len(starts) > 1 for starts in groups(batches, "batchId", "startedAt").values()):
        return False
    if any(carries_closed_times(record, place) for record, place in batches if "startedAt" in record):
        return False
    counted = {record.get("sessionId") for _, record, _ in told if record.get("event_name") == "session_upsert"}
    switched = [ids for ids in groups(batches, "batchId", "sessionId").values() if len(ids) > 1]
    touching: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for stream, record, place in told:
        for key in what_it_bears_on(stream, record, counted, switched):
            touching[key].append((time_of(stream, record), horizon_at(place)))
    return not any(
        min(time for time, _ in records) < max(horizon for _, horizon in records) for records in touching.values()
    )


def horizon_at(place: float) -> int:
    """The horizon (ms) when a record with that place on the time of delivery arrives."""
    return horizon_after(int(place * ROUNDS) - 1) if int(place * ROUNDS) else 0


def carries_closed_times(record: dict, place: float) -> bool:
    times = [*record["goalEvents"].values(), *(entry["timestamp"] for entry in record["llmInteractions"])]
    earliest = min(map(milliseconds, times), default=horizon_at(place))
    return earliest < horizon_at(place) <= time_of("session_batches", record)


def groups(batches: list[tuple[dict, float]], key: str, value: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for record, _ in batches:
        if value in record:
            found[record[key]].add(record[value])
    return found


def what_it_bears_on(stream: str, record: dict, counted: set[str], switched: list[set[str]]) -> Iterator[str]:
    """Requests a record tells or rates, its session if an upsert counts that, sessions joined to it by a batch."""
    session = record.get("sessionId")
    if stream == "llm_requests":
        yield from (f"{key} {record[key]}" for key in ("requestId", "messageId") if key in record)
    elif stream == "session_batches" and "startedAt" not in record:
        for entry in record["llm_interactions"]:
            yield from (f"{key}Id {entry[f'{key}_id']}" for key in ("request", "message") if f"{key}_id" in entry)
    if session in counted:
        yield f"counted {session}"
    yield from (f"joined {sorted(ids)}" for ids in switched if session in ids)


def time_of(stream: str, record: dict) -> int:
    """When a record says it happened; a session batch when it began."""
    if stream == "events":
        return min(map(event_time, record["events"])) if "events" in record else event_time(record)
    if stream == "identifies":
        return milliseconds(record["timestamp"])
    if stream == "llm_requests":
        return milliseconds(record["timestamp"])
    return milliseconds(record.get("startedAt") or record["llm_interactions"][0]["timestamp"])


def build_with_purges(warehouse: Warehouse, rounds: list[Arrived]) -> Warehouse:
    for number, arrived in enumerate(rounds):
        for stream, lines in loads_of(arrived):
            warehouse.load(stream, lines)
        warehouse.refresh(AS_OF)
        if number + 1 < len(rounds):
            purging.purge(warehouse.server, at(horizon_after(number)).date())
    return warehouse


def at(time: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=time)


def kept(warehouse: Warehouse) -> dict[str, list[str]]:
    contents = warehouse.contents()
    return {relation: contents[relation] for relation in KEPT}


def compared(
    make_warehouse: Callable[[], Warehouse], histories: Mapping[int, History]
) -> tuple[Differences, Warehouse]:
    """What differs between a warehouse that was never purged and never got what came too late, and a purged one; and
    the purged one."""
    rounds = arriving(histories)
    never = make_warehouse()
    for stream, lines in loads_of(in_time(rounds)):
        never.load(stream, lines)
    never.refresh(AS_OF)
    purged = build_with_purges(make_warehouse(), rounds)
    return differences(kept(never), kept(purged)), purged


def test_purges_between_loads_change_nothing_that_is_kept_and_a_full_build_changes_nothing(make_warehouse):
    histories = {number: history for number, history in generated(COUNT, SEED).items() if is_clear(history)}
    assert len(histories) > COUNT / 2
    found, purged = compared(make_warehouse, histories)
    assert not found, f"TIDEMARK_HISTORIES_SEED={SEED} TIDEMARK_HISTORIES={COUNT}\n" + explained(
        lambda fewer: compared(make_warehouse, fewer)[0], histories, found
    )
    before = purged.contents()
    purged.query("delete from ops.model_state returning 1")
    purged.refresh(AS_OF)
    assert_same(before, purged.contents())
