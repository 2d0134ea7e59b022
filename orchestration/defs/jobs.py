"""Jobs: what an operator starts or a schedule starts for him."""

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
