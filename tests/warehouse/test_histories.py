"""Law 1 on generated histories: however they arrive, and wherever a refresh is killed, the marts equal one full build.

`TIDEMARK_HISTORIES_SEED=… TIDEMARK_HISTORIES=…` make other histories, and more of them; a failure prints the seed.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.warehouse.conftest import Warehouse
from tests.warehouse.histories import History, generated
from tests.warehouse.proving import Plan, compared, explained

SEED = int(os.environ.get("TIDEMARK_HISTORIES_SEED", "2026"))
COUNT = int(os.environ.get("TIDEMARK_HISTORIES", "240"))
ROUNDS = 4


def numbered(count: int, start: int) -> dict[int, History]:
    return dict(enumerate(generated(count, start), 1))


def models_of(warehouse: Warehouse) -> list[str]:
    return [model for (model,) in warehouse.query("select model from ops.model_state where target = 'prod' order by 1")]


@pytest.fixture(scope="module")
def models(make_warehouse) -> list[str]:
    """Every incremental model."""
    warehouse = make_warehouse()
    warehouse.refresh()
    return models_of(warehouse)


def assert_law(make_warehouse, histories: dict[int, History], plan: Plan, start: int) -> Warehouse:
    found, whole = compared(make_warehouse, histories, plan)
    assert not found, (
        f"TIDEMARK_HISTORIES_SEED={start} TIDEMARK_HISTORIES={len(histories)}, killed at {dict(plan.killed_at)}\n"
        + explained(make_warehouse, histories, found, plan)
    )
    return whole


def test_histories_in_rounds_with_refreshes_killed_between_equal_one_full_build(make_warehouse, models):
    histories = numbered(COUNT, SEED)
    first, second, third = Random(SEED).sample(models, 3)
    whole = assert_law(make_warehouse, histories, Plan(ROUNDS, {1: [first], 2: [second, third]}), SEED)
    # Every history left something: the law is not proven on nothing.
    assert whole.query("select count(distinct app_id) from marts.fct_sessions")[0][0] > 0.9 * COUNT


@pytest.mark.long
@pytest.mark.parametrize("turn", range(10))
def test_many_histories(make_warehouse, models, turn):
    """Fresh histories at every run; each of the models is killed at once in all."""
    start = int(os.environ.get("TIDEMARK_HISTORIES_SEED", "0")) or Random().randrange(10**9)
    chance = Random(start)
    rounds = chance.randint(2, 7)
    killed_at = {chance.randrange(1, rounds): [model] for model in models[turn::10]}
    assert_law(make_warehouse, numbered(400, start), Plan(rounds, killed_at), start)
