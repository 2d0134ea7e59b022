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

from ingest.connection import Server, connect
from orchestration.refresh import PROJECT_FOLDER
from tests.warehouse.conftest import Warehouse, under_one_name, without_server_variables
from tests.warehouse.histories import History, Sent

AS_OF = "1990-01-01T00:00:00+00:00"
"""Before everything: the gap-free series of watched metrics, of hundreds of apps through decades, are empty."""

LONGEST_WAIT = 900
A_MARK = re.compile(r"(?<!\d)\d{8}(?!\d)")
MAKES_MOST = 60
"""Candidates of one shrinking step: they stand in one build."""
MOST_SHOWN = 2_000
"""Characters of what one relation holds, in a failure's message."""

Load = tuple[str, list[bytes]]
Differences = dict[str, tuple[list[str], list[str]]]
Compare = Callable[[Mapping[int, History]], Differences]


@dataclass(frozen=True)
class Plan:
    """How histories arrive: in so many rounds, with a refresh after each.

    `killed_at` says for a round, from 1 to rounds - 1, at which models refreshes are killed before one is let finish:
    each a place among all incremental models by name, from 0 to below 1.
    """

    rounds: int
    killed_at: Mapping[int, Sequence[float]]


def rounds_of(histories: Mapping[int, History], rounds: int) -> list[list[Load]]:
    """The loads of each round."""
    arriving: list[list[tuple[str, bytes]]] = [[] for _ in range(rounds)]
    for number, history in histories.items():
        for sent, line in history.lines(number):
            for place in sent.rounds:
                arriving[int(place * rounds)].append((sent.stream, line))
    return [loads_of(arrived) for arrived in arriving]


def loads_of(arrived: Iterable[tuple[str, bytes]]) -> list[Load]:
    """Records, each with its stream, as one load a stream; streams, and the lines of a load, are in no order."""
    streams: dict[str, list[bytes]] = defaultdict(list)
    for stream, line in arrived:
        streams[stream].append(line)
    chance = Random(len(streams))
    for lines in streams.values():
        chance.shuffle(lines)
    return chance.sample([*streams.items()], len(streams))


def build_whole(warehouse: Warehouse, histories: Mapping[int, History]) -> Warehouse:
    """Load every record once, then build."""
    told = ((sent.stream, line) for number, history in histories.items() for sent, line in history.lines(number))
    for stream, lines in loads_of(told):
        warehouse.load(stream, lines)
    warehouse.refresh(AS_OF)
    return warehouse


def build_piecewise(warehouse: Warehouse, histories: Mapping[int, History], plan: Plan) -> Warehouse:
    """Load and refresh round by round, killed where the plan says."""
    for number, loads in enumerate(rounds_of(histories, plan.rounds)):
        for stream, lines in loads:
            warehouse.load(stream, lines)
        for nth, place in enumerate(plan.killed_at.get(number, ())):
            # a refresh that takes up what a killed one left may have nothing left to do to the next model
            assert kill_refresh_at(warehouse, _model_at(warehouse, place)) or nth > 0
        warehouse.refresh(AS_OF)
    return warehouse


def _model_at(warehouse: Warehouse, place: float) -> str:
    models = warehouse.query("select model from ops.model_state where target = 'prod' and incremental order by model")
    return models[int(place * len(models))][0]


def kill_refresh_at(warehouse: Warehouse, model: str) -> bool:
    """Start a refresh and kill it, and its connections, when it is about to change that model's table.

    False if it had nothing to change there, and is done.
    """
    schema = warehouse.query(
        "select table_schema from information_schema.tables where table_name = %s and table_type = 'BASE TABLE'", model
    )[0][0]
    with under_one_name(warehouse.server) as server, contextlib.closing(connect(server)) as blocking:
        blocking.execute(f"lock table {schema}.{model} in access exclusive mode")
        running = subprocess.Popen(
            [sys.executable, "-m", "orchestration", "refresh", "--no-inbox", "--quiet"],
            env=without_server_variables()
            | server.environment()
            | {"TIDEMARK_AS_OF": AS_OF, "TIDEMARK_LOCK_TIMEOUT": "10min"},
            cwd=PROJECT_FOLDER,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            blocked = _is_blocked(server, f"{schema}.{model}", running)
        finally:
            running.kill()
            running.wait()
        _end_other_connections(server, blocking.info.backend_pid)
    return blocked


def _is_blocked(server: Server, relation: str, running: subprocess.Popen[bytes]) -> bool:
    """Wait until a refresh waits for a relation: True; or is done without it: False."""
    deadline = time.monotonic() + LONGEST_WAIT
    with contextlib.closing(connect(server, autocommit=True)) as connection:
        while not connection.execute(
            "select 1 from pg_locks where relation = %s::regclass and not granted", [relation]
        ).fetchone():
            if (code := running.poll()) is not None:
                assert code == 0, f"the refresh failed before it came to {relation}"
                return False
            assert time.monotonic() < deadline, f"the refresh never came to {relation}"
            time.sleep(0.02)
    return True


def _end_other_connections(server: Server, kept: int) -> None:
    """What a killed process had sent must not be carried out once nothing is in its way any more."""
    others = "from pg_stat_activity where datname = current_database() and pid not in (pg_backend_pid(), %s)"
    with contextlib.closing(connect(server, autocommit=True)) as connection:
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
    known = set(numbers)
    mine: dict[int, Differences] = defaultdict(dict)
    for relation, sides in found.items():
        for place, rows in enumerate(sides):
            for row in rows:
                for number in {int(digits) for digits in A_MARK.findall(row)} & known:
                    mine[number].setdefault(relation, ([], []))[place].append(row)
    return dict(mine)


def compared(make_warehouse: Callable[[], Warehouse], histories: Mapping[int, History], plan: Plan) -> Differences:
    """What differs between the histories built whole and built piecewise."""
    whole = build_whole(make_warehouse(), histories)
    return differences(whole.contents(), build_piecewise(make_warehouse(), histories, plan).contents())


def smallest(compare: Compare, history: History, steps: int = 6) -> tuple[History, Differences]:
    """The fewest of a history's records that `steps` builds can find and that still differ, and how; the whole history
    and no difference if it does not differ alone, which then has to do with where a refresh was killed."""
    seen: Differences = {}
    for step in range(steps):
        candidates = dict(enumerate([history] if step == 0 else _smaller(history), 1))
        failing = offenders(compare(candidates), candidates)
        if not failing:
            break
        best = min(failing, key=lambda number: len(candidates[number].sent))
        history, seen = candidates[best], failing[best]
    return history, seen


def _smaller(history: History) -> list[History]:
    """Histories with or without a part of the records: halves, quarters, …, single ones; and with none twice."""
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


def explained(compare: Compare, histories: Mapping[int, History], found: Differences) -> str:
    """What a failing test says: which relations, which histories, and of the shortest of those what it needs."""
    failing = offenders(found, histories)
    lines = [
        f"{relation}: {len(left)} rows only on the left, {len(right)} only on the right"
        for relation, (left, right) in found.items()
    ]
    if not failing:
        return "\n".join([*lines, "no history has a row of its own that differs", str(found)[:MOST_SHOWN]])
    shortest = min(failing, key=lambda number: len(histories[number].sent))
    needed, seen = smallest(compare, histories[shortest])
    lines += [f"histories that differ: {sorted(failing)}; the shortest, {shortest}, needs of its records"]
    lines.append(needed.shown(MOST_SHOWN // 4))
    for relation, (left, right) in (seen or failing[shortest]).items():
        lines.append(f"{relation}\n  left  {left[:3]}\n  right {right[:3]}"[:MOST_SHOWN])
    return "\n".join(lines)
