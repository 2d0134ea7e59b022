"""Law 1 proven on many histories at once: build them whole and piecewise, compare, and find what a difference needs."""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ingest.connection import connect
from orchestration.refresh import PROJECT_FOLDER
from tests.warehouse.conftest import STREAMS, Warehouse, without_server_variables
from tests.warehouse.histories import History, Sent, marked

AS_OF = "2026-03-03T00:00:00+00:00"
"""Early: the gap-free series of watched metrics of hundreds of apps end here."""

LONGEST_WAIT = 180
MAKES_MOST = 60
"""Candidates of one shrinking step: they stand in one build."""

Load = tuple[str, list[bytes]]
Differences = dict[str, tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Plan:
    """How histories arrive: in so many rounds, with a refresh after each.

    `killed_at` says for a round, from 1 to rounds - 1, at which models refreshes are killed before one is let finish:
    each a place among all incremental models by name, from 0 to below 1.
    """

    rounds: int
    killed_at: Mapping[int, Sequence[float]]


def rounds_of(histories: Mapping[int, History], rounds: int) -> list[list[Load]]:
    """The loads of each round; streams, and the lines of a load, are in no order."""
    arriving: list[dict[str, list[bytes]]] = [defaultdict(list) for _ in range(rounds)]
    for number, history in histories.items():
        for sent, line in history.lines(number):
            for place in sent.rounds:
                arriving[int(place * rounds)][sent.stream].append(line)
    chance = Random(len(histories))
    loads = []
    for streams in arriving:
        for lines in streams.values():
            chance.shuffle(lines)
        loads.append(chance.sample([*streams.items()], len(streams)))
    return loads


def build_whole(warehouse: Warehouse, histories: Mapping[int, History]) -> Warehouse:
    """Load every record once, then build."""
    for stream in STREAMS:
        lines = [line for number, h in histories.items() for sent, line in h.lines(number) if sent.stream == stream]
        if lines:
            warehouse.load(stream, lines)
    warehouse.refresh(AS_OF)
    return warehouse


def build_piecewise(warehouse: Warehouse, histories: Mapping[int, History], plan: Plan) -> Warehouse:
    """Load and refresh round by round, killed where the plan says."""
    for number, loads in enumerate(rounds_of(histories, plan.rounds)):
        for stream, lines in loads:
            warehouse.load(stream, lines)
        for place in plan.killed_at.get(number, ()):
            kill_refresh_at(warehouse, _model_at(warehouse, place))
        warehouse.refresh(AS_OF)
    return warehouse


def _model_at(warehouse: Warehouse, place: float) -> str:
    models = warehouse.query("select model from ops.model_state where target = 'prod' order by model")
    return models[int(place * len(models))][0]


def kill_refresh_at(warehouse: Warehouse, model: str) -> None:
    """Start a refresh and kill it, and its connections, when it is about to change that model's table."""
    with contextlib.closing(connect(warehouse.server)) as blocking:
        schema = warehouse.query(
            "select table_schema from information_schema.tables where table_name = %s and table_type = 'BASE TABLE'",
            model,
        )[0][0]
        blocking.execute(f"lock table {schema}.{model} in access exclusive mode")
        running = subprocess.Popen(
            [sys.executable, "-m", "orchestration", "refresh", "--no-inbox", "--quiet"],
            env=without_server_variables() | warehouse.server.environment() | {"TIDEMARK_AS_OF": AS_OF},
            cwd=PROJECT_FOLDER,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_until_blocked(warehouse, f"{schema}.{model}", running)
        finally:
            running.kill()
            running.wait()
        _end_other_connections(warehouse, blocking.info.backend_pid)


def _wait_until_blocked(warehouse: Warehouse, relation: str, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LONGEST_WAIT
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        while not connection.execute(
            "select 1 from pg_locks where relation = %s::regclass and not granted", [relation]
        ).fetchone():
            assert running.poll() is None, f"the refresh ended before it came to {relation}"
            assert time.monotonic() < deadline, f"the refresh never came to {relation}"
            time.sleep(0.02)


def _end_other_connections(warehouse: Warehouse, kept: int) -> None:
    """What a killed process had sent must not be carried out once nothing is in its way any more."""
    others = "from pg_stat_activity where datname = current_database() and pid not in (pg_backend_pid(), %s)"
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute(f"select pg_terminate_backend(pid) {others}", [kept])
        deadline = time.monotonic() + LONGEST_WAIT
        while connection.execute(f"select 1 {others}", [kept]).fetchone():
            assert time.monotonic() < deadline, "connections of a killed refresh do not end"
            time.sleep(0.02)


def differences(left: dict[str, list[str]], right: dict[str, list[str]]) -> Differences:
    """Relation → rows only the left has and rows only the right has, however often; equal relations are left out."""
    assert left.keys() == right.keys()
    found = {}
    for relation, rows in left.items():
        if rows != right[relation]:
            ours, theirs = Counter(rows), Counter(right[relation])
            found[relation] = sorted((ours - theirs).elements()), sorted((theirs - ours).elements())
    return found


def offenders(found: Differences, numbers: Iterable[int]) -> dict[int, Differences]:
    """Those of the histories whose rows differ, with their rows."""
    mine: dict[int, Differences] = {}
    for number in numbers:
        mark = re.compile(rf"(?<!\d){marked(number)}(?!\d)")
        rows = {
            relation: tuple([row for row in side if mark.search(row)] for side in sides)
            for relation, sides in found.items()
        }
        rows = {relation: sides for relation, sides in rows.items() if any(sides)}
        if rows:
            mine[number] = rows
    return mine


def compared(
    make_warehouse: Callable[[], Warehouse], histories: Mapping[int, History], plan: Plan
) -> tuple[Differences, Warehouse]:
    """What differs between the histories built whole and built piecewise; and what was built whole."""
    whole = build_whole(make_warehouse(), histories)
    piecewise = build_piecewise(make_warehouse(), histories, plan)
    return differences(whole.contents(), piecewise.contents()), whole


def smallest(
    make_warehouse: Callable[[], Warehouse], history: History, plan: Plan, steps: int = 6
) -> tuple[History, Differences]:
    """A history with as few of its records as `steps` builds can find that still differs; all of it if alone it
    does not, which then has to do with where a refresh was killed."""
    plan = Plan(plan.rounds, {})
    seen: Differences = {}
    for step in range(steps):
        candidates = dict(enumerate([history] if step == 0 else _smaller(history), 1))
        found, _ = compared(make_warehouse, candidates, plan)
        failing = offenders(found, candidates)
        if not failing:
            break
        best = min(failing, key=lambda number: len(candidates[number].sent))
        history, seen = candidates[best], failing[best]
    return history, seen


def _smaller(history: History) -> list[History]:
    """Histories with a part of the records, or without a part: halves, quarters, …, single ones."""
    count = len(history.sent)
    found = []
    parts = 2
    while parts <= 2 * count and len(found) < MAKES_MOST:
        edges = sorted({round(count * part / parts) for part in range(parts + 1)})
        for start, stop in itertools.pairwise(edges):
            found.append(history.without(start, stop))
            if parts > 2:
                found.append(history.without(stop, count).without(0, start))
        parts *= 2
    once = [Sent(sent.stream, sent.text, sent.at, sent.rounds[:1]) for sent in history.sent]
    return [smaller for smaller in (*found, History(tuple(once))) if smaller.sent]


def explained(
    make_warehouse: Callable[[], Warehouse], histories: Mapping[int, History], found: Differences, plan: Plan
) -> str:
    """What a failing test says: which relations, which histories, and of the shortest of those what it needs."""
    failing = offenders(found, histories)
    lines = [
        f"{relation}: {len(ours)} rows only whole, {len(theirs)} only piecewise"
        for relation, (ours, theirs) in found.items()
    ]
    if not failing:
        return "\n".join([*lines, "no history has a row of its own that differs", str(found)[:2000]])
    shortest = min(failing, key=lambda number: len(histories[number].sent))
    needed, seen = smallest(make_warehouse, histories[shortest], plan)
    lines += [f"histories that differ: {sorted(failing)}", f"the shortest, {shortest}, needs these of its records:"]
    lines.append(needed.shown())
    lines += [
        f"{relation}\n  whole {ours[:3]}\n  piecewise {theirs[:3]}"
        for relation, (ours, theirs) in (seen or failing[shortest]).items()
    ]
    return "\n".join(lines)
