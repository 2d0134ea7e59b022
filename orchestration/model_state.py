"""Checksums that tell what is not as the project says: models to be built whole, seeds, views and functions."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

PROJECT = "tidemark"
CONFIG_THAT_SHAPES_ROWS = ("materialized", "incremental_strategy", "meta", "indexes", "contract")
# dbt makes functions by it, and their own SQL does not call it.
MACRO_OF_FUNCTIONS = "macro.tidemark.postgres__scalar_function_sql"


def incremental_models(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Unique id → node of every incremental model of the project."""
    return {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "incremental"
    }


def compared_seeds(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Unique id → name of the seeds whose changes do not rebuild what reads them (`meta.compared`): the models that
    read them find out which rows a change covers."""
    return {
        unique_id: node["name"]
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "seed" and node["config"].get("meta", {}).get("compared")
    }


def checksums(manifest: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, str]:
    """Model name → checksum of all its rows are made by.

    That is its SQL, its shaping configuration and columns, the project's macros it calls, the project's
    variables, and everything it reads that is not itself incremental: views, seeds, tables.
    A compared seed's rows are left out: the work list names it when they change.
    `manifest` is dbt's manifest.json as a mapping.
    """
    incremental = incremental_models(manifest)
    compared = compared_seeds(manifest)
    seen: dict[str, str] = {}

    def of_node(unique_id: str) -> str:
        if unique_id in seen:
            return seen[unique_id]
        node = manifest["nodes"].get(unique_id)
        if node is None:
            return ""
        depends_on = node.get("depends_on", {})
        parts = [
            node["checksum"]["checksum"] if unique_id not in compared else "",
            {name: node["config"].get(name) for name in CONFIG_THAT_SHAPES_ROWS},
            {name: [column.get("data_type"), column.get("constraints")] for name, column in node["columns"].items()},
            [part for called in sorted(depends_on.get("macros", [])) for part in _of_macro(manifest, called)],
            [of_node(parent) for parent in sorted(depends_on.get("nodes", [])) if parent not in incremental],
        ]
        seen[unique_id] = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
        return seen[unique_id]

    of_variables = json.dumps(variables, sort_keys=True, default=str)
    return {
        node["name"]: hashlib.sha256((of_node(unique_id) + of_variables).encode()).hexdigest()
        for unique_id, node in incremental.items()
    }


def checksums_of_the_rest(manifest: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, str]:
    """Seed, view, table or function → checksum of all it is made by, descriptions and grants included.

    A function finds its relations when it runs: what they are made by is not its own.

    dbt gives no checksum of a large seed's content: such a seed, and what reads it, has another one each time.
    """
    incremental = incremental_models(manifest)
    version = manifest.get("metadata", {}).get("dbt_version")

    def of_node(unique_id: str) -> Any:
        node = manifest["nodes"].get(unique_id)
        if node is None or unique_id in incremental:
            return unique_id
        if node["checksum"].get("name") == "path":
            return uuid.uuid4().hex
        return [
            *[node.get(name) for name in ("checksum", "schema", "alias", "config", "columns", "description")],
            [_of_macro(manifest, called) for called in sorted(node["depends_on"].get("macros", []))],
            [of_node(parent) for parent in sorted(node["depends_on"].get("nodes", []))],
        ]

    def checksum(unique_id: str) -> str:
        parts = [of_node(unique_id), variables, version]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def of_function(node: Mapping[str, Any]) -> str:
        called = [MACRO_OF_FUNCTIONS, *sorted(node["depends_on"].get("macros", []))]
        parts = [
            *[node.get(name) for name in ("checksum", "schema", "alias", "config", "description")],
            *[node.get(name) for name in ("arguments", "returns")],
            [_of_macro(manifest, macro) for macro in called],
            *[variables, version],
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    relations = {
        node["name"]: checksum(unique_id)
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "seed") and unique_id not in incremental
    }
    return relations | {node["name"]: of_function(node) for node in manifest.get("functions", {}).values()}


def _of_macro(manifest: Mapping[str, Any], unique_id: str, path: frozenset[str] = frozenset()) -> list[str]:
    """The SQL of a macro of the project and of those it calls."""
    macro = manifest["macros"].get(unique_id)
    if macro is None or macro["package_name"] != PROJECT or unique_id in path:
        return []
    calls = sorted(macro["depends_on"]["macros"])
    return [macro["macro_sql"], *(part for called in calls for part in _of_macro(manifest, called, path | {unique_id}))]


def with_descendants(manifest: Mapping[str, Any], changed: set[str]) -> set[str]:
    """The names in `changed` and those of every incremental model below them."""
    incremental = incremental_models(manifest)
    edited = {unique_id for unique_id, node in incremental.items() if node["name"] in changed}
    return {incremental[unique_id]["name"] for unique_id in incremental.keys() & (edited | below(manifest, edited))}


def below(manifest: Mapping[str, Any], unique_ids: Iterable[str]) -> set[str]:
    """Unique ids of whatever reads one of these nodes, or reads what does."""
    found: set[str] = set()
    pending = list(unique_ids)
    while pending:
        news = set(manifest["child_map"].get(pending.pop(), [])) - found
        found |= news
        pending += news
    return found
