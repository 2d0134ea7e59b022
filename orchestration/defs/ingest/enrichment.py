"""What was looked up, as the graph shows it: the refresh fills these tables itself, before it builds."""

import dagster as dg

from orchestration.dbt_manifest import load_manifest
from orchestration.defs.dbt.translator import group_of

looked_up = [
    dg.AssetSpec(
        key=["ops", source["name"]],
        group_name=group_of(source),
        description=source["description"],
        kinds={"postgres", "table"},
        metadata={"dagster/table_name": f"ops.{source['name']}"},
    )
    for source in load_manifest()["sources"].values()
    if source["source_name"] == "ops"
]
