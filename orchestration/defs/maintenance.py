"""The job `maintenance`."""

import dagster as dg
from pydantic import Field

from ingest.connection import resolve
from orchestration.dbt_process import RUNS_KEPT
from orchestration.failures import one_owner_of_retries
from orchestration.instance import POOL
from orchestration.maintenance import maintain


class MaintenanceConfig(dg.Config):
    """What is looked after."""

    days_ahead: int = Field(
        default=14, ge=1, le=366, description="Partitions of raw are made for so many days from today on."
    )
    vacuum: bool = Field(default=True, description="Remove dead rows of the tables that changed, and renew statistics.")
    analyze: bool = Field(default=True, description="Renew the statistics of raw's partitioned tables as a whole.")
    runs_kept: int = Field(
        default=RUNS_KEPT, ge=1, le=1000, description="Of dbt's folders, one a run, the newest so many stay."
    )


@dg.op(pool=POOL)
def look_after(context: dg.OpExecutionContext, config: MaintenanceConfig) -> None:
    """Make partitions ahead, vacuum and analyze what changed, prune old folders of dbt."""
    with one_owner_of_retries():
        done = maintain(
            resolve(),
            days_ahead=config.days_ahead,
            vacuum=config.vacuum,
            analyze=config.analyze,
            runs_kept=config.runs_kept,
            report=context.log.info,
        )
    context.add_output_metadata(
        {
            "partitions_made": done.partitions_made,
            "tables_vacuumed": len(done.vacuumed),
            "tables_analyzed": len(done.analyzed),
            "left_because_locked": done.left,
        }
    )


@dg.job(
    name="maintenance",
    executor_def=dg.in_process_executor,
    description="Partitions of raw ahead, vacuum and statistics of what changed, old folders of dbt pruned.",
)
def maintenance() -> None:
    """One op."""
    look_after()
