"""Jobs over the assets: what an operator starts or a schedule starts for him. Each shows its configuration, with
defaults and descriptions, in the launchpad. Jobs that build nothing have a module of their own."""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from orchestration.defs import docs
from orchestration.defs.dbt import models as dbt

# Days before this have nothing to re-process: the UI offers partitions from here on.
FIRST_DAY = "2024-01-01"

CHECKS_OF_THE_NIGHT = dg.AssetSelection.checks(*dbt.checks_tagged("nightly"))

ingest = dg.define_asset_job(
    name="ingest",
    selection=dg.AssetSelection.groups("raw"),
    description="Load what lies in the inbox. The models see it at the next refresh.",
    executor_def=dg.in_process_executor,
)

refresh = dg.define_asset_job(
    name="refresh",
    # What a refresh costs must follow what is new: tests that read whole marts carry dbt's tag `nightly`.
    selection=(dg.AssetSelection.groups("raw") | dg.AssetSelection.kind("dbt"))
    - dg.AssetSelection.assets(docs.documentation)
    - CHECKS_OF_THE_NIGHT,
    description="Load what lies in the inbox, build every model up to the last load, test what is new, move the mark.",
    # One process per step would cost seconds and gain nothing: there are two, one after the other.
    executor_def=dg.in_process_executor,
)

nightly = dg.define_asset_job(
    name="nightly",
    selection=dg.AssetSelection.checks(*[spec.key for spec in dbt.models.check_specs])
    | dg.AssetSelection.assets(docs.documentation),
    description="Run every dbt test on the marts as they are, those that read all of them too, and make the "
    "documentation. Builds nothing.",
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
    return replay_of(config["from"], config["to"])


def replay_of(first: str, last: str) -> dict[str, Any]:
    """Run configuration that re-processes these days and those between them."""
    return {"ops": {"models": {"config": {"replay_from": first, "replay_to": last}}}}


every_model = dg.AssetSelection.kind("dbt") - dg.AssetSelection.assets(docs.documentation) - CHECKS_OF_THE_NIGHT

replay = dg.define_asset_job(
    name="replay",
    selection=every_model,
    config=replayed_days,
    description="Re-process a range of days in one run: every session with anything received or done on them, their "
    "visitors too.",
    executor_def=dg.in_process_executor,
)


@dg.daily_partitioned_config(start_date=FIRST_DAY)
def replayed_day(start: Any, _end: Any) -> dict[str, Any]:
    """The run configuration of one day's partition."""
    return replay_of(f"{start:%Y-%m-%d}", f"{start:%Y-%m-%d}")


with warnings.catch_warnings():
    # The models have no partitions of their own, so the job must say its days itself.
    warnings.simplefilter("ignore", DeprecationWarning)
    backfill = dg.define_asset_job(
        name="backfill",
        selection=every_model,
        config=replayed_day,
        partitions_def=dg.DailyPartitionsDefinition(start_date=FIRST_DAY),
        description="Re-process single days, a run each, one after the other: choose them as partitions. `replay` does "
        "a whole range in one run.",
        executor_def=dg.in_process_executor,
    )
