"""How a dbt node shows in Dagster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject

from orchestration.environments import environment


def group_of(node: Mapping[str, Any]) -> str:
    """The Dagster group of a manifest node: raw, ops, seeds, staging, intermediate, or a mart's domain."""
    if node["resource_type"] == "source":
        return node["source_name"]
    if node["resource_type"] == "seed":
        return "seeds"
    layer, *below = node["fqn"][1:-1] or ["models"]
    return below[0] if layer == "marts" and below else layer


# Who answers for a group; one place to put in your own teams, or addresses of people.
OWNERS = {
    "raw": "team:data-platform",
    "ops": "team:data-platform",
    "history": "team:data-platform",
    "operations": "team:data-platform",
    "docs": "team:data-platform",
}
OTHER_OWNERS = "team:analytics"


def owners_of(group: str) -> list[str]:
    """Owners of the assets of a group."""
    return [OWNERS.get(group, OTHER_OWNERS)]


def freshness_of() -> dg.FreshnessPolicy | None:
    """How old the assets that every refresh makes may get in this environment; None where nobody waits for them."""
    here = environment()
    if here.fails_after is None:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=here.fails_after, warn_window=here.late_after)


def columns_of(node: Mapping[str, Any]) -> dict[str, dg.TableSchema]:
    """Metadata that tells a relation's columns, types and descriptions; empty where its YAML names none."""
    columns = [
        dg.TableColumn(name, type=column.get("data_type") or "?", description=column.get("description") or None)
        for name, column in node.get("columns", {}).items()
    ]
    return {"dagster/column_schema": dg.TableSchema(columns)} if columns else {}


def kinds_of(node: Mapping[str, Any]) -> set[str]:
    """What the node's tile in the graph says it is made of."""
    return {"dbt", "postgres", node["config"]["materialized"]}


def attach_tests(manifest: dict[str, Any]) -> dict[str, Any]:
    """Say of each test on several models which one's check it is, as `meta: {dagster: {ref: {name: …}}}` would.

    That is the one furthest down the graph, which is made of the others; between equals the last by name. What
    a test says itself stays. Changes and returns `manifest`.
    """
    nodes = manifest["nodes"]
    depths: dict[str, int] = {}

    def depth(unique_id: str) -> int:
        if unique_id not in depths:
            above = nodes[unique_id]["depends_on"].get("nodes", []) if unique_id in nodes else []
            depths[unique_id] = 1 + max(map(depth, above), default=0)
        return depths[unique_id]

    for node in nodes.values():
        read = [unique_id for unique_id in node["depends_on"].get("nodes", []) if unique_id in nodes]
        if node["resource_type"] == "test" and not node.get("attached_node") and len(read) > 1:
            owner = max(read, key=lambda unique_id: (depth(unique_id), unique_id))
            meta = node["config"].setdefault("meta", {})
            meta.setdefault("dagster", {}).setdefault("ref", {"name": nodes[owner]["name"]})
    return manifest


def check_description(test: Mapping[str, Any]) -> str | None:
    """What a dbt test says of itself, else what it is called with."""
    if test.get("description"):
        return test["description"]
    called = test.get("test_metadata")
    if not called:
        return None
    arguments = {name: value for name, value in called["kwargs"].items() if name != "model"}
    column = arguments.pop("column_name", None)
    described = called["name"] + (f" of {column}" if column else "")
    return described + "".join(f", {name}: {value}" for name, value in arguments.items())


class Translator(DagsterDbtTranslator):
    """Groups by layer, one asset check for each dbt test, no check that blocks."""

    def __init__(self) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True))

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return group_of(dbt_resource_props)

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        # The database is another one for each server, and the manifest is parsed without any.
        relation = f"{dbt_resource_props['schema']}.{dbt_resource_props['name']}"
        return {**super().get_metadata(dbt_resource_props), "dagster/table_name": relation}

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        if node["resource_type"] == "source":
            return spec
        group = group_of(node)
        return spec.replace_attributes(
            kinds=kinds_of(node),
            owners=spec.owners or owners_of(group),
            # The rest is made when there is something new: that it is old then says nothing.
            freshness_policy=freshness_of() if node["config"]["materialized"] == "table" else None,
        )

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        if spec is None:
            return None
        test = self.get_resource_props(manifest, unique_id)
        # A failed test alerts; the models it read are built and the mark has its own rule.
        return spec._replace(blocking=False, description=check_description(test))
