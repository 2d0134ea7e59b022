"""The job that shows how good the data are: numbers of `agg_data_quality` that Dagster plots over runs."""

import dagster as dg
from pydantic import Field

from ingest.connection import connect, resolve
from orchestration.failures import one_owner_of_retries
from orchestration.instance import READING_POOL
from orchestration.quality import as_numbers, concerns, newest_values

MART = dg.AssetKey(["marts", "agg_data_quality"])


class QualityConfig(dg.Config):
    """What a run does about what it finds."""

    fail_beyond_limits: bool = Field(
        default=False, description="Fail the run when a measure is beyond its limit (seed quality_limits)."
    )


@dg.op(pool=READING_POOL, description="Show the newest value of each measure as numbers of the mart agg_data_quality.")
def show_quality(context: dg.OpExecutionContext, config: QualityConfig) -> None:
    with one_owner_of_retries(), connect(resolve(reading=True), autocommit=True) as connection:
        rows = newest_values(connection)
    context.log_event(dg.AssetObservation(MART, metadata=as_numbers(rows)))
    found = concerns(rows)
    for line in found:
        context.log.warning(line)
    if found and config.fail_beyond_limits:
        raise dg.Failure(f"{len(found)} measures are beyond their limits: {'; '.join(found)}", allow_retries=False)


@dg.job(
    description="Show how good the data are that came: freshness, volume, rejects, duplicates, late and missing data.",
    executor_def=dg.in_process_executor,
)
def quality() -> None:
    show_quality()
