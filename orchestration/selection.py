"""What a refresh lets dbt build and test, as pure functions of dbt's manifest: what has keys to replace, what is
stale, what depends on now, and the tests of those."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from orchestration import model_state

NO_TESTS = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")
NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")
NIGHTLY = "nightly"


def to_build(
    manifest: Mapping[str, Any], *, stale: Collection[str], rebuilt: Collection[str], keys_listed: bool
) -> set[str]:
    """Unique ids of the seeds and models that a refresh must build.

    `stale` and `rebuilt` are names: seeds, views and tables that are not as the project says, and incremental models
    that are built whole. With `keys_listed` the work list holds keys, and every incremental model may have some to
    replace. Without, those may that stand on a stale seed whose rows are compared (`meta.compared`), and those that
    find out themselves what the hour changed (`meta.depends_on_now`). Tables are built each time: they are for what
    depends on now.
    """
    made = dict(_made_by_dbt(manifest))
    anew = {
        unique_id
        for unique_id, node in made.items()
        if node["name"] in stale or node["name"] in rebuilt or _kind(node) not in ("seed", "view", "incremental")
    }
    affected = (
        made.keys() if keys_listed else model_state.below(manifest, anew & model_state.compared_seeds(manifest).keys())
    )
    changed = {
        unique_id
        for unique_id, node in made.items()
        if _kind(node) == "incremental"
        and (unique_id in affected or node["config"].get("meta", {}).get("depends_on_now"))
    }
    return anew | changed | _views_on(manifest, anew)


def _made_by_dbt(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for unique_id, node in {**manifest["nodes"], **manifest.get("functions", {})}.items():
        if node["resource_type"] in ("model", "seed", "function") and _kind(node) != "ephemeral":
            yield unique_id, node


def _kind(node: Mapping[str, Any]) -> str:
    return node["config"].get("materialized") or node["resource_type"]


def _views_on(manifest: Mapping[str, Any], anew: Collection[str]) -> set[str]:
    """The views above: a relation that is made anew takes the views that read it down with it."""
    found: set[str] = set()
    pending = list(anew)
    while pending:
        for child in manifest["child_map"].get(pending.pop(), []):
            node = manifest["nodes"].get(child)
            if node and node["resource_type"] == "model" and _kind(node) in ("view", "ephemeral"):
                if child not in found:
                    pending.append(child)
                found.add(child)
    return {unique_id for unique_id in found if _kind(manifest["nodes"][unique_id]) == "view"}


def lean_tests_of(manifest: Mapping[str, Any], built: Collection[str]) -> set[str]:
    """Unique ids of the hourly tests that read something of `built`, or nothing that dbt builds."""
    hourly = {
        unique_id: manifest["nodes"].keys() & node["depends_on"]["nodes"]
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "test" and NIGHTLY not in node["tags"]
    }
    return {unique_id for unique_id, read in hourly.items() if not read or not read.isdisjoint(built)}


def all_made(manifest: Mapping[str, Any]) -> set[str]:
    """Unique ids of the seeds, models and functions that dbt makes relations of."""
    return {unique_id for unique_id, _ in _made_by_dbt(manifest)}


def selectors(manifest: Mapping[str, Any], unique_ids: Collection[str]) -> list[str]:
    """How dbt's `--select` names exactly these nodes, sorted."""
    nodes = {**manifest["nodes"], **manifest.get("functions", {})}
    return sorted(".".join(nodes[unique_id]["fqn"]) for unique_id in unique_ids)


def arguments_to_build(models: Sequence[str] | None, *, full_refresh: bool = False) -> list[str]:
    """dbt's arguments that build models, seeds and functions without testing them.

    `models` are dbt selectors (`tidemark.marts.core.fct_sessions`), None means all.
    """
    return ["build", *NO_TESTS, *(["--full-refresh"] if full_refresh else []), *_selection(models)]


def arguments_to_test(tests: Sequence[str] | None, *, hourly: bool = False) -> list[str]:
    """dbt's arguments that run data tests and no unit tests; `tests` are dbt selectors, None means all.

    With `hourly` all are all but the nightly ones.
    """
    if tests is None and hourly:
        return ["test", *NO_UNIT_TESTS, "--exclude", f"tag:{NIGHTLY}"]
    # A test is chosen by its own name: with a model dbt would choose every test that mentions it.
    return ["test", *NO_UNIT_TESTS, *_selection(tests), *(["--indirect-selection", "empty"] if tests else [])]


def _selection(names: Sequence[str] | None) -> list[str]:
    return [] if names is None else ["--select", *sorted(names)]
