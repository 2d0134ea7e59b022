"""Jobs: what an operator starts or a schedule starts for him."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from orchestration.defs.dbt import models as dbt

refresh = dg.define_asset_job(
    name="refresh",
    # What a refresh costs must follow what is new: tests that read whole marts carry dbt's tag `nightly`.
    selection=(dg.AssetSelection.groups("raw") | dg.AssetSelection.kind("dbt"))
    - dg.AssetSelection.checks(*dbt.checks_tagged("nightly")),
    description="Load what lies in the inbox, build every model up to the last load, test what is new, move the mark.",
    # One process per step would cost seconds and gain nothing: there are two, one after the other.
    executor_def=dg.in_process_executor,
)

check_all = dg.define_asset_job(
    name="check_all",
    selection=dg.AssetSelection.checks(*[spec.key for spec in dbt.models.check_specs]),
    description="Run every dbt test on the marts as they are, those that read all of them too. Builds nothing.",
    executor_def=dg.in_process_executor,
)


@dg.config_mapping(
    config_schema={
        "from": dg.Field(str, description="First UTC day, as in 2026-03-01."),
        "to": dg.Field(str, description="Last UTC day; it is replayed too."),
    }
)
def replayed_days(config: Mapping[str, str]) -> dict[str, Any]:
    """The run configuration of the assets, from the two days of a replay."""
    return {"ops": {"models": {"config": {"replay_from": config["from"], "replay_to": config["to"]}}}}


replay = dg.define_asset_job(
    name="replay",
    selection=dg.AssetSelection.kind("dbt") - dg.AssetSelection.checks(*dbt.checks_tagged("nightly")),
    config=replayed_days,
    description="Re-process a range of days: every session with anything received or done on them, their visitors too.",
    executor_def=dg.in_process_executor,
)
