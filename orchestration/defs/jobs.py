"""Jobs: what an operator starts or a schedule starts for him."""

import dagster as dg

refresh = dg.define_asset_job(
    name="refresh",
    selection=dg.AssetSelection.groups("raw") | dg.AssetSelection.kind("dbt"),
    description="Load what lies in the inbox, build every model up to the last load, run every test, move the mark.",
    # One process per step would cost seconds and gain nothing: there are two, one after the other.
    executor_def=dg.in_process_executor,
)
