"""Law 1: however the input is split, ordered and repeated, the marts equal one full build, row for row."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Callable

import pytest

from ingest.connection import connect
from orchestration.dbt_manifest import load_manifest
from orchestration.model_state import incremental_models
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


def test_what_counts_whoever_came_is_the_same_for_others(built_at_once, copy_warehouse):
    """Models that read `whoever:` kinds are not told who a row belongs to: of other people's rows they are equal."""
    manifest = load_manifest()
    readers, facts = set(), set()
    for node in incremental_models(manifest).values():
        kinds = [kind for named in node["config"]["meta"].get("touched", {}).values() for kind in named]
        # a hook may hear of them in a model's stead
        hooks = [manifest["macros"][name]["macro_sql"] for name in node["depends_on"]["macros"]]
        heard = set(re.findall(r"whoever:(\w+)\.", " ".join(kinds + hooks)))
        assert not any(kind.split(".")[0] in heard for kind in kinds), f"{node['name']} reads both kinds of one model"
        if heard:
            readers.add(node["name"])
            facts |= heard
    assert {"agg_metric_values", "agg_event_daily"} < readers
    warehouse = copy_warehouse(built_at_once)
    before = warehouse.contents()
    for name in facts:
        owners = warehouse.query(
            "select column_name::text from information_schema.columns where table_schema = 'marts' and table_name = %s"
            " and column_name in ('visitor_id', 'user_id')",
            name,
        )
        other = {"visitor_id": "gen_random_uuid()", "user_id": "md5(random()::text)"}
        changes = ", ".join(f"{owner} = {other[owner]}" for (owner,) in owners)
        with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
            connection.execute(f"update marts.{name} set {changes}")
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        connection.execute("delete from ops.model_state where model = any(%s)", [list(readers)])
    run = warehouse.refresh()
    assert readers <= set(run.rebuilt)
    assert not facts & set(run.rebuilt)
    of_readers = [f"marts.{name}" for name in readers]
    after = warehouse.contents()
    assert_same({name: before[name] for name in of_readers}, {name: after[name] for name in of_readers})


def test_a_sign_in_touches_the_days_of_visitors_not_those_of_events(make_warehouse):
    """Three weeks later a visitor signs in: whose the visit was changes, what happened on its day does not."""
    warehouse = make_warehouse()

    def event(number: int, at: str, **more: str) -> bytes:
        return json.dumps(
            {
                "eventId": f"e-{number}", "eventName": "page_view", "funnelId": "shop", "anonymousId": "a-1",
                "sessionId": f"s-{at[:10]}", "timestamp": at, "pageUrl": "https://shop.example/",
            } | more
        ).encode()  # fmt: skip

    warehouse.load("events", [event(1, "2026-03-01T10:00:00Z")])
    warehouse.refresh()
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        # What a refresh took up is forgotten when it is done.
        connection.execute("create table public.heard (kind text, key text)")
        connection.execute(
            "create function public.hear() returns trigger language plpgsql as"
            " 'begin insert into public.heard values (new.kind, new.key); return null; end'"
        )
        connection.execute(
            "create trigger hears after insert on ops.touched for each row execute function public.hear()"
        )
    warehouse.load("events", [event(2, "2026-03-22T10:00:00Z", userId="u-1")])
    warehouse.refresh()
    heard = set(warehouse.query("select kind, key from public.heard"))
    for fact, column in (
        ("fct_sessions", "session_date"),
        ("fct_events", "event_date"),
        ("fct_page_views", "view_date"),
    ):
        told = {key for kind, key in heard if kind == f"{fact}.{column}"}
        whoever = {key for kind, key in heard if kind == f"whoever:{fact}.{column}"}
        assert told == {"2026-03-01", "2026-03-22"}
        assert whoever == {"2026-03-22"}
    assert warehouse.query("select distinct user_id from marts.fct_events") == [("u-1",)]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_many_random_splits(make_warehouse, small_sample, built_at_once, seed):
    piecewise = make_warehouse()
    for part in split_into_loads(small_sample, loads=random.Random(seed).randint(2, 12), seed=seed):
        for stream, lines in part:
            piecewise.load(stream, lines)
        piecewise.refresh()
    assert_same(built_at_once.contents(), piecewise.contents())
