"""Which incremental models must be built whole: new ones, changed ones, and what stands on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

PROJECT = "tidemark"
CONFIG_THAT_SHAPES_ROWS = ("materialized", "incremental_strategy", "meta", "indexes", "contract")


def incremental_models(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Unique id → node of every incremental model of the project."""
    return {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "incremental"
    }


def checksums(manifest: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, str]:
    """Model name → checksum of all its rows are made by.

    That is its SQL, its shaping configuration and columns, the project's macros it calls, the project's
    variables, and everything it reads that is not itself incremental: views, seeds, tables.
    `manifest` is dbt's manifest.json as a mapping.
    """
    incremental = incremental_models(manifest)
    seen: dict[str, str] = {}

    def of_macro(unique_id: str, path: frozenset[str]) -> list[str]:
        macro = manifest["macros"].get(unique_id)
        if macro is None or macro["package_name"] != PROJECT or unique_id in path:
            return []
        below = [
            part for called in sorted(macro["depends_on"]["macros"]) for part in of_macro(called, path | {unique_id})
        ]
        return [macro["macro_sql"], *below]

    def of_node(unique_id: str) -> str:
        if unique_id in seen:
            return seen[unique_id]
        node = manifest["nodes"].get(unique_id)
        if node is None:
            return ""
        depends_on = node.get("depends_on", {})
        parts = [
            node["checksum"]["checksum"],
            {name: node["config"].get(name) for name in CONFIG_THAT_SHAPES_ROWS},
            {name: [column.get("data_type"), column.get("constraints")] for name, column in node["columns"].items()},
            [part for called in sorted(depends_on.get("macros", [])) for part in of_macro(called, frozenset())],
            [of_node(parent) for parent in sorted(depends_on.get("nodes", [])) if parent not in incremental],
        ]
        seen[unique_id] = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
        return seen[unique_id]

    of_variables = json.dumps(variables, sort_keys=True, default=str)
    return {
        node["name"]: hashlib.sha256((of_node(unique_id) + of_variables).encode()).hexdigest()
        for unique_id, node in incremental.items()
    }


def with_descendants(manifest: Mapping[str, Any], changed: set[str]) -> set[str]:
    """The names in `changed` and those of every incremental model below them."""
    incremental = incremental_models(manifest)
    below: set[str] = set()
    pending = [unique_id for unique_id, node in incremental.items() if node["name"] in changed]
    visited = set(pending)
    while pending:
        unique_id = pending.pop()
        if unique_id in incremental:
            below.add(incremental[unique_id]["name"])
        for child in manifest["child_map"].get(unique_id, []):
            if child.startswith("model.") and child not in visited:
                visited.add(child)
                pending.append(child)
    return below
