"""A changed model, macro, seed or view rebuilds what stands on it, and nothing else."""

import copy

import pytest

from orchestration.model_state import checksums, with_descendants


def node(name, kind="incremental", depends_on=(), macros=(), checksum="1"):
    return {
        "name": name,
        "resource_type": "seed" if kind == "seed" else "model",
        "config": {"materialized": kind},
        "checksum": {"checksum": checksum},
        "columns": {},
        "depends_on": {"nodes": list(depends_on), "macros": list(macros)},
    }


@pytest.fixture
def manifest():
    """seed → view → a → b (table between) → c; d stands alone and calls a macro."""
    nodes = {
        "seed.tidemark.prices": node("prices", "seed"),
        "model.tidemark.stg": node("stg", "view", ["seed.tidemark.prices"]),
        "model.tidemark.a": node("a", depends_on=["model.tidemark.stg"]),
        "model.tidemark.between": node("between", "table", ["model.tidemark.a"]),
        "model.tidemark.c": node("c", depends_on=["model.tidemark.between"]),
        "model.tidemark.d": node("d", macros=["macro.tidemark.outer"]),
    }
    child_map = {unique_id: [] for unique_id in nodes}
    for unique_id, child in nodes.items():
        for parent in child["depends_on"]["nodes"]:
            child_map[parent].append(unique_id)
    macros = {
        "macro.tidemark.outer": {
            "package_name": "tidemark",
            "macro_sql": "outer",
            "depends_on": {"macros": ["macro.tidemark.inner", "macro.dbt.is_incremental"]},
        },
        "macro.tidemark.inner": {
            "package_name": "tidemark",
            "macro_sql": "inner",
            "depends_on": {"macros": []},
        },
        "macro.dbt.is_incremental": {"package_name": "dbt", "macro_sql": "x", "depends_on": {"macros": []}},
    }
    return {"nodes": nodes, "macros": macros, "child_map": child_map}


def changed_by(manifest, edit, variables=None):
    before = checksums(manifest, {})
    edited = copy.deepcopy(manifest)
    edit(edited)
    after = checksums(edited, variables or {})
    return {name for name in after if before[name] != after[name]}


def test_a_seed_changes_the_models_that_read_it_through_views(manifest):
    def edit(edited):
        edited["nodes"]["seed.tidemark.prices"]["checksum"]["checksum"] = "2"

    assert changed_by(manifest, edit) == {"a"}


def test_an_incremental_parent_does_not_change_its_child(manifest):
    def edit(edited):
        edited["nodes"]["model.tidemark.a"]["checksum"]["checksum"] = "2"

    # c reads a through a table built from it, which is rebuilt whole each time: c's own rows are not known to change
    assert changed_by(manifest, edit) == {"a"}


def test_a_macro_called_by_a_macro_counts_and_dbts_own_do_not(manifest):
    def inner(edited):
        edited["macros"]["macro.tidemark.inner"]["macro_sql"] = "changed"

    def of_dbt(edited):
        edited["macros"]["macro.dbt.is_incremental"]["macro_sql"] = "changed"

    assert changed_by(manifest, inner) == {"d"}
    assert changed_by(manifest, of_dbt) == set()


def test_a_variable_changes_everything(manifest):
    assert changed_by(manifest, lambda edited: None, {"session_gap_minutes": 20}) == {"a", "c", "d"}


def test_descendants_are_found_through_what_is_not_incremental(manifest):
    assert with_descendants(manifest, {"a"}) == {"a", "c"}
    assert with_descendants(manifest, {"c"}) == {"c"}
    assert with_descendants(manifest, set()) == set()
