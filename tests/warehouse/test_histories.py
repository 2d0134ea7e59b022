"""Law 1 on generated histories: however they arrive, and wherever a refresh is killed, the marts equal one full build.

`TIDEMARK_HISTORIES_SEED=… TIDEMARK_HISTORIES=…` make other histories, and more of them; a failure prints the seed.
"""

from __future__ import annotations

import os
from collections import defaultdict
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.warehouse import reference
from tests.warehouse.conftest import Warehouse
from tests.warehouse.histories import History, generated, marked
from tests.warehouse.proving import Plan, build_piecewise, build_whole, compared, differences, explained

SEED = int(os.environ.get("TIDEMARK_HISTORIES_SEED", "2026"))
COUNT = int(os.environ.get("TIDEMARK_HISTORIES", "240"))


@pytest.fixture(scope="module")
def whole(make_warehouse) -> tuple[Warehouse, dict[int, History]]:
    """Histories, built at once."""
    histories = generated(COUNT, SEED)
    return build_whole(make_warehouse(), histories), histories


def assert_law(make_warehouse, whole: Warehouse, histories: dict[int, History], plan: Plan, start: int) -> None:
    piecewise = build_piecewise(make_warehouse(), histories, plan)
    found = differences(whole.contents(), piecewise.contents())
    assert not found, f"TIDEMARK_HISTORIES_SEED={start} TIDEMARK_HISTORIES={len(histories)}, {plan}\n" + explained(
        lambda fewer: compared(make_warehouse, fewer, Plan(plan.rounds, {})), histories, found
    )


def test_histories_in_rounds_with_refreshes_killed_between_equal_one_full_build(make_warehouse, whole):
    warehouse, histories = whole
    chance = Random(SEED)
    plan = Plan(4, {1: (chance.random(),), 2: (chance.random(), chance.random())})
    assert_law(make_warehouse, warehouse, histories, plan, SEED)
    # Nearly every history left a visit: the law is not proven on nothing.
    assert warehouse.query("select count(distinct app_id) from marts.fct_sessions")[0][0] > 0.9 * COUNT


def test_visits_and_visitors_are_those_of_the_reference(whole):
    """Against the rules in plain Python, on the histories that are of events and identify calls alone."""
    warehouse, histories = whole
    plain = {number: history for number, history in histories.items() if reference.is_plain(history)}
    assert len(plain) > COUNT / 5
    records = {
        number: reference.told((sent.stream, line) for sent, line in history.lines(number))
        for number, history in plain.items()
    }
    found_visits, found_aliases = built_visits(warehouse), built_aliases(warehouse)
    differing = {}
    for number, told in records.items():
        app = f"app-{marked(number)}"
        visits, aliases = reference.visits(told), reference.aliases(told)
        if visits != found_visits.get(app, []) or aliases != found_aliases.get(marked(number), []):
            differing[number] = (visits, found_visits.get(app), aliases, found_aliases.get(marked(number)))
    assert not differing, shown_reference(plain, differing)


def built_visits(warehouse: Warehouse) -> dict[str, list[reference.Visit]]:
    """App → visits as they were built."""
    found = defaultdict(list)
    for app, *visit in warehouse.query(
        """
        select
            app_id, case when session_group like 'e:%%' then 'e:' else session_group end,
            round(extract(epoch from started_at) * 1000)::bigint, round(extract(epoch from ended_at) * 1000)::bigint,
            user_id, anonymous_id, event_count::integer, pages_visited::integer
        from marts.fct_sessions
        """,
    ):
        found[app].append(reference.Visit(*visit))
    return {app: sorted(visits, key=str) for app, visits in found.items()}


def built_aliases(warehouse: Warehouse) -> dict[str, list[reference.Alias]]:
    """History's mark → aliases as they were built."""
    found = defaultdict(list)
    for alias in warehouse.query(
        """
        select
            anonymous_id, round(extract(epoch from valid_from) * 1000)::bigint,
            round(extract(epoch from valid_to) * 1000)::bigint, user_id
        from marts.visitor_aliases
        """
    ):
        found[alias[0].rpartition("-")[2]].append(reference.Alias(*alias))
    return {mark: sorted(aliases, key=str) for mark, aliases in found.items()}


def shown_reference(plain: dict[int, History], differing: dict[int, tuple]) -> str:
    """Which histories differ from the reference, and the shortest of them with what was expected and found."""
    shortest = min(differing, key=lambda number: len(plain[number].sent))
    kinds = ("visits expected", "visits found", "aliases expected", "aliases found")
    lines = [f"{name}: {rows}" for name, rows in zip(kinds, differing[shortest], strict=True)]
    return "\n".join([f"differing: {sorted(differing)}; history {shortest}:", plain[shortest].shown(), *lines])


@pytest.mark.long
@settings(max_examples=10, database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck])
@given(
    start=st.integers(0, 10**9),
    rounds=st.integers(2, 7),
    kills=st.lists(st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)), max_size=5),
)
def test_many_histories(make_warehouse, start, rounds, kills):
    """Thousands of fresh ones at every run, in any number of rounds, refreshes killed in any round at any model."""
    histories = generated(500, start)
    killed_at = defaultdict(list)
    for when, where in kills:
        killed_at[1 + int(when * (rounds - 1))].append(where)
    whole = build_whole(make_warehouse(), histories)
    assert_law(make_warehouse, whole, histories, Plan(rounds, killed_at), start)
