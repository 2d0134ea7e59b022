"""A record that was refused in part, once mended and replayed, leaves the marts as if it had been sent right."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from ingest.connection import connect
from ingest.rejects import Filters, export_line, replay_export, units
from tests.warehouse.conftest import assert_same

START = datetime(2026, 3, 2, 9, tzinfo=timezone.utc)


def at(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def batch(number: int, session: str, pages: list[str], seconds: int, **more: Any) -> dict[str, Any]:
    """A flush `seconds` after the start, a page every ten seconds."""
    return {
        "sessionId": session,
        "batchId": f"b{number:07}-0000-4000-8000-000000000000",
        "batchSeq": 0,
        "startedAt": at(0),
        "endedAt": at(seconds),
        "pathSequence": pages,
        "pathTimings": [10_000 * place for place in range(len(pages))],
        **more,
    }


def interaction(seconds: int, tokens: Any = 100) -> dict[str, Any]:
    return {"model": "gpt-4o", "tokens": tokens, "cost": 0.01, "timestamp": at(seconds)}


# Each snapshot with what breaks one element of it: a key path and the bad value.
SNAPSHOTS: list[tuple[dict[str, Any], list[Any]]] = [
    # Signed out in mid-batch. A lesser snapshot of the anonymous session, put first, would pass for a sign-in.
    (batch(1, "s-user", ["/", "/a"], 30, userId="u1"), []),
    (batch(1, "anon-1", ["/", "/a", "/b"], 60, llmInteractions=[interaction(40), interaction(50)]),
     ["llmInteractions", 1, "tokens", "many"]),
    # A rotation is told by the goals its first snapshot carries over.
    (batch(2, "s-2", [f"/{place}" for place in range(50)], 500, userId="u2", goalEvents={"won": at(20)}), []),
    (batch(3, "s-2", ["/49", "/next"], 520, userId="u2", batchSeq=1, startedAt=at(495),
           goalEvents={"won": at(20), "paid": at(510)}, interactionSummary={"click": 2}),
     ["goalEvents", "won", "never"]),
    # The same error twice in one snapshot counts twice.
    (batch(4, "s-4", ["/"], 60, errorEvents=[{"type": "js", "page": "/", "time": 900}] * 2),
     ["errorEvents", 1, "type", None]),
    # A counter rises at the snapshot that first shows it, here an hour before the next.
    (batch(5, "s-5", ["/"], 60, interactionSummary={"chat_message_sent": 3}, pageLoadTimes={"/": 800}),
     ["interactionSummary", "chat_message_sent", -1]),
    (batch(5, "s-5", ["/", "/later"], 3700, pathTimings=[0, 3_650_000], interactionSummary={"chat_message_sent": 4},
           pageLoadTimes={"/later": 900}),
     ["pageLoadTimes", "/later", "slow"]),
    # A server's row holds nothing but LLM interactions.
    ({"sessionId": "s-6", "batchId": "b6000000-0000-4000-8000-000000000000", "batchSeq": 1772442000000, "userId": "u6",
      "llmInteractions": [interaction(5), interaction(90, tokens=7)]},
     ["llmInteractions", 0, "cost", "free"]),
]  # fmt: skip


def broken(snapshot: dict[str, Any], change: list[Any]) -> dict[str, Any]:
    """The snapshot with the value that `change` ends with at the place it names."""
    record = json.loads(json.dumps(snapshot))
    if change:
        *places, last, value = change
        holder: Any = record
        for place in places:
            holder = holder[place]
        holder[last] = value
    return record


def test_mended_elements_leave_the_marts_as_if_they_had_been_sent_right(make_warehouse: Callable[[], Any]) -> None:
    whole, mended = make_warehouse(), make_warehouse()
    sent_right = [json.dumps(snapshot).encode() for snapshot, _ in SNAPSHOTS]
    sent_wrong = [json.dumps(broken(snapshot, change)).encode() for snapshot, change in SNAPSHOTS]
    whole.load("session_batches", sent_right)
    whole.refresh()
    mended.load("session_batches", sent_wrong)
    mended.refresh()
    expected, incomplete = whole.contents(), mended.contents()
    for mart in ("fct_page_views", "fct_llm_requests", "fct_sessions"):
        assert expected[f"marts.{mart}"] != incomplete[f"marts.{mart}"], mart

    right_by_place = {number: json.loads(line) for number, line in enumerate(sent_right, 1)}
    with contextlib.closing(connect(mended.server)) as connection:
        lines = [json.loads(export_line(unit)) for unit in units(connection, Filters())]
        assert len(lines) == sum(bool(change) for _, change in SNAPSHOTS)
        for line in lines:
            line["record"] = right_by_place[line["line_number"]]
        replayed = replay_export(connection, [json.dumps(line).encode() for line in lines], "mended")
    assert (replayed.cleared, replayed.rows, replayed.refused) == (len(lines), len(lines), [])
    assert mended.refresh().tests_failed == []
    assert_same(expected, mended.contents())
