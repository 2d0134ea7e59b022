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
COUNT = int(os.environ.get("TIDEMARK_HISTORIES", "160"))
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
            elif stream == "identifies" or time_of(stream, record) >= horizon:
                yield stream, line


def is_clear(history: History) -> bool:
    """Whether no batch's clock jumped, and none that began in an open day carries what happened in a closed one (after
    a reload): of those it is no single record that comes too late."""
    starts: dict[str, set[str]] = defaultdict(set)
    for sent in history.sent:
        record = json.loads(sent.text)
        if sent.stream != "session_batches" or "startedAt" not in record:
            continue
        starts[record["batchId"]].add(record["startedAt"])
        times = [*record["goalEvents"].values(), *(entry["timestamp"] for entry in record["llmInteractions"])]
        earliest = min(map(milliseconds, times), default=sent.at)
        for place in sent.rounds:
            if int(place * ROUNDS) and earliest < horizon_after(int(place * ROUNDS) - 1) <= time_of(
                sent.stream, record
            ):
                return False
    return all(len(told) == 1 for told in starts.values())


def time_of(stream: str, record: dict) -> int:
    """When a record says it happened; a session batch when it began."""
    if stream == "events":
        return event_time(record)
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
    assert len(histories) > 0.8 * COUNT
    found, purged = compared(make_warehouse, histories)
    assert not found, f"TIDEMARK_HISTORIES_SEED={SEED} TIDEMARK_HISTORIES={COUNT}\n" + explained(
        lambda fewer: compared(make_warehouse, fewer)[0], histories, found
    )
    before = purged.contents()
    purged.query("delete from ops.model_state returning 1")
    purged.refresh(AS_OF)
    assert_same(before, purged.contents())
