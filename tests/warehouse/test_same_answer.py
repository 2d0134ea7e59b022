"""Law 1: however the input is split, ordered and repeated, the marts equal one full build, row for row."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.warehouse.conftest import Warehouse, assert_same


def split_into_loads(lines: dict[str, list[bytes]], loads: int, seed: int) -> list[list[tuple[str, list[bytes]]]]:
    """Every line into one of so many rounds at random, in random order, every tenth line into two."""
    chance = random.Random(seed)
    rounds: list[dict[str, list[bytes]]] = [{stream: [] for stream in lines} for _ in range(loads)]
    for stream in lines:
        for line in lines[stream]:
            for number in chance.sample(range(loads), 2 if chance.random() < 0.1 else 1):
                rounds[number][stream].append(line)
    for number in range(loads):
        for stream in lines:
            chance.shuffle(rounds[number][stream])
    return [[(stream, part[stream]) for stream in lines if part[stream]] for part in rounds]


@pytest.fixture(scope="module")
def built_at_once(make_warehouse: Callable[[], Warehouse], small_sample: dict[str, list[bytes]]) -> Warehouse:
    warehouse = make_warehouse()
    for stream, lines in small_sample.items():
        warehouse.load(stream, lines)
    warehouse.refresh()
    return warehouse


def test_random_loads_in_random_order_give_the_full_builds_marts(make_warehouse, small_sample, built_at_once):
    piecewise = make_warehouse()
    for part in split_into_loads(small_sample, loads=6, seed=2026):
        for stream, lines in part:
            piecewise.load(stream, lines)
        run = piecewise.refresh()
        assert run.tests_failed == []
    expected = built_at_once.contents()
    assert sum(map(len, expected.values())) > 5_000
    # The newest version of a workspace, by its time and then its subscription, wherever it came.
    pulled = "select distinct plan from marts.dim_workspaces where workspace_name is not null"
    assert built_at_once.query(pulled) == [("pro",)]
    assert_same(expected, piecewise.contents())


def test_a_second_refresh_changes_nothing(built_at_once):
    before = built_at_once.contents()
    run = built_at_once.refresh()
    assert (run.touched_groups, run.rebuilt) == (0, [])
    assert_same(before, built_at_once.contents())


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_many_random_splits(make_warehouse, small_sample, built_at_once, seed):
    piecewise = make_warehouse()
    for part in split_into_loads(small_sample, loads=random.Random(seed).randint(2, 12), seed=seed):
        for stream, lines in part:
            piecewise.load(stream, lines)
        piecewise.refresh()
    assert_same(built_at_once.contents(), piecewise.contents())
