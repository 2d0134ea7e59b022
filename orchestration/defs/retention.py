"""The job `retention`."""

import dagster as dg
from pydantic import Field

from ingest.connection import resolve
from orchestration.failures import one_owner_of_retries
from orchestration.instance import POOL
from orchestration.retention import retention as take_away


class RetentionConfig(dg.Config):
    """How retention runs."""

    dry_run: bool = Field(
        default=False,
        description="Say what would go, rows and bytes, and change nothing.",
    )


@dg.op(pool=POOL)
def take_away_what_is_over_its_age(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
    """Close days, drop partitions, reduce and delete, by the seed `retention_policies`."""
    with one_owner_of_retries():
        done = take_away(resolve(), dry_run=config.dry_run, report=lambda step: context.log.info(str(step)))
    columns = ["record_class", "action", "relation", "before", "rows", "bytes"]
    context.add_output_metadata(
        {
            "dry_run": config.dry_run,
            "rows": sum(step.rows for step in done.steps),
            "bytes": sum(step.bytes for step in done.steps),
            "steps": dg.MetadataValue.table(
                records=[
                    dg.TableRecord({name: _plain(getattr(step, name)) for name in columns}) for step in done.steps
                ],
                schema=dg.TableSchema([dg.TableColumn(name) for name in columns]),
            ),
        }
    )


def _plain(value: object) -> str | int:
    return value if isinstance(value, int) else str(value)


@dg.job(
    name="retention",
    executor_def=dg.in_process_executor,
    description="Take away what is over its age, by the seed `retention_policies`. The next refresh takes it out of "
    "the marts. There is no way back but a backup: look at a dry run first.",
)
def retention() -> None:
    """One op."""
    take_away_what_is_over_its_age()
