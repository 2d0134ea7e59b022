"""What a refresh looks up before it builds, and what a purge leaves behind, as the graph shows them."""

import dagster as dg

from orchestration.dbt_manifest import load_manifest
from orchestration.defs.dbt.translator import columns_of, group_of, owners_of

looked_up = [
    dg.AssetSpec(
        key=[source["source_name"], source["name"]],
        group_name=group_of(source),
        owners=owners_of(source["source_name"]),
        description=source["description"],
        kinds={"postgres", "table"},
        metadata={"dagster/table_name": f"{source['source_name']}.{source['name']}", **columns_of(source)},
    )
    for source in load_manifest()["sources"].values()
    if source["source_name"] in ("ops", "history")
]
