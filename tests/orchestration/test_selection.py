"""What a refresh builds and tests follows from what is stale and what has keys to replace."""

import copy

import pytest

from orchestration.model_state import MACRO_OF_FUNCTIONS, checksums_of_the_rest
from orchestration.selection import lean_tests_of, selectors, to_build


def node(name, kind, *parents, resource_type="model", tags=()):
    return {
        "name": name,
        "resource_type": resource_type,
        "config": {"materialized": kind},
        "checksum": {"name": "sha256", "checksum": "1"},
        "columns": {},
        "description": "",
        "schema": "s",
        "alias": name,
        "tags": list(tags),
        "fqn": ["tidemark", name],
        "depends_on": {"nodes": list(parents), "macros": ["macro.tidemark.called"]},
    }


@pytest.fixture
def manifest():
    """prices (seed) → stg (view) → fact (incremental) → seen → wide (views); fact → now (table) → shown (view).

    get (function) reads fact."""
    nodes = {
        "prices": node("prices", "seed", resource_type="seed"),
        "stg": node("stg", "view", "prices"),
        "fact": node("fact", "incremental", "stg"),
        "seen": node("seen", "view", "fact"),
        "wide": node("wide", "view", "seen"),
        "now": node("now", "table", "fact"),
        "shown": node("shown", "view", "now"),
        "of_prices": node("of_prices", "test", "prices", resource_type="test"),
        "of_fact_and_now": node("of_fact_and_now", "test", "fact", "now", resource_type="test"),
        "of_all_facts": node("of_all_facts", "test", "fact", resource_type="test", tags=["nightly"]),
        "of_raw": node("of_raw", "test", "source.raw", resource_type="test"),
        "unit": node("unit", "unit", "fact", resource_type="unit_test"),
    }
    functions = {
        "get": node("get", "function", "fact", resource_type="function")
        | {"arguments": [{"name": "app", "data_type": "text"}], "returns": {"data_type": "jsonb"}}
    }
    child_map = {name: [] for name in [*nodes, *functions, "source.raw"]}
    for name, child in (nodes | functions).items():
        for parent in child["depends_on"]["nodes"]:
            child_map[parent].append(name)
    macro = {"package_name": "tidemark", "macro_sql": "1", "depends_on": {"macros": []}}
    macros = {"macro.tidemark.called": macro, MACRO_OF_FUNCTIONS: {**macro, "macro_sql": "create"}}
    return {"nodes": nodes, "functions": functions, "child_map": child_map, "macros": macros}


@pytest.mark.parametrize(
    ("stale", "rebuilt", "keys_listed", "built"),
    [
        # What depends on now is built each time, and the views on it, which go down with it.
        ([], [], False, {"now", "shown"}),
        ([], [], True, {"fact", "now", "shown"}),
        ([], ["fact"], False, {"fact", "seen", "wide", "now", "shown"}),
        (["seen"], [], False, {"seen", "wide", "now", "shown"}),
        (["prices"], [], False, {"prices", "stg", "now", "shown"}),
        # A function is made when it is another one, and stays when what it reads is made anew.
        (["get"], [], False, {"get", "now", "shown"}),
    ],
)
def test_built_is_what_has_keys_what_is_stale_and_what_depends_on_now(manifest, stale, rebuilt, keys_listed, built):
    assert to_build(manifest, stale=stale, rebuilt=rebuilt, keys_listed=keys_listed) == built


def test_an_incremental_model_that_depends_on_now_is_built_each_time_and_views_on_it_stay(manifest):
    manifest["nodes"]["fact"]["config"]["meta"] = {"depends_on_now": True}
    assert to_build(manifest, stale=[], rebuilt=[], keys_listed=False) == {"fact", "now", "shown"}


def test_hourly_tests_are_of_what_was_built(manifest):
    assert lean_tests_of(manifest, {"now", "shown"}) == {"of_fact_and_now", "of_raw"}
    assert lean_tests_of(manifest, {"prices"}) == {"of_prices", "of_raw"}
    assert selectors(manifest, {"of_raw", "of_prices"}) == ["tidemark.of_prices", "tidemark.of_raw"]


def set_in(name, *path, value):
    def edit(manifest):
        place = manifest["nodes"][name]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return edit


def set_in_function(*path, value):
    def edit(manifest):
        place = manifest["functions"]["get"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return edit


def edit_macro(manifest):
    manifest["macros"]["macro.tidemark.called"]["macro_sql"] = "2"


def edit_macro_of_functions(manifest):
    manifest["macros"][MACRO_OF_FUNCTIONS]["macro_sql"] = "create or replace"


def upgrade_dbt(manifest):
    manifest["metadata"] = {"dbt_version": "2"}


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (set_in("prices", "checksum", "checksum", value="2"), {"prices", "stg"}),
        (set_in("stg", "checksum", "checksum", value="2"), {"stg"}),
        (set_in("wide", "columns", value={"a": {"description": "said"}}), {"wide"}),
        (set_in("wide", "description", value="said"), {"wide"}),
        (set_in("wide", "config", "grants", value={"select": ["somebody"]}), {"wide"}),
        (set_in("seen", "schema", value="elsewhere"), {"seen", "wide"}),
        # A view on an incremental model stays as it is: it reads other rows, that is all.
        (set_in("fact", "checksum", "checksum", value="2"), set()),
        (edit_macro, {"prices", "stg", "seen", "wide", "now", "shown", "get"}),
        (
            lambda manifest: manifest.update(metadata={"dbt_version": "2"}),
            {"prices", "stg", "seen", "wide", "now", "shown", "get"},
        ),
        (set_in_function("checksum", "checksum", value="2"), {"get"}),
        (set_in_function("description", value="said"), {"get"}),
        (set_in_function("arguments", value=[]), {"get"}),
        (set_in_function("returns", "data_type", value="text"), {"get"}),
        (set_in_function("schema", value="elsewhere"), {"get"}),
        (edit_macro_of_functions, {"get"}),
    ],
)
def test_a_seed_or_view_is_stale_when_anything_it_is_made_by_changed(manifest, edit, changed):
    before = checksums_of_the_rest(manifest, {})
    edited = copy.deepcopy(manifest)
    edit(edited)
    after = checksums_of_the_rest(edited, {})
    assert before.keys() == after.keys() == {"prices", "stg", "seen", "wide", "now", "shown", "get"}
    assert {name for name in after if before[name] != after[name]} == changed


def test_a_seed_too_large_for_a_checksum_is_always_stale(manifest):
    manifest["nodes"]["prices"]["checksum"] = {"name": "path", "checksum": "seeds/prices.csv"}
    before, after = checksums_of_the_rest(manifest, {}), checksums_of_the_rest(manifest, {})
    assert {name for name in after if before[name] != after[name]} == {"prices", "stg"}
