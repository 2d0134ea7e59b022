"""The inbox loads its files into the raw streams; each stream is an asset, as dbt's sources name it."""

from collections import defaultdict
from collections.abc import Iterator

import dagster as dg
import psycopg
from pydantic import Field

from ingest.connection import connect, resolve
from ingest.inbox import SETTLE_SECONDS, inbox_folder, ingest_inbox
from ingest.load import FAILED, LEFT_ALONE, LoadResult
from ingest.migrate import migrate
from orchestration.dbt_manifest import load_manifest
from orchestration.defs.dbt.translator import columns_of, freshness_of, group_of, owners_of
from orchestration.failures import one_owner_of_retries
from orchestration.instance import INBOX_POOL

LEDGER = dg.AssetKey(["raw", "loads"])
FILES_LOADED = "inbox_files_loaded"
NEWEST_LOADS = """
select stream, max(published_seq) from raw.loads group by stream
union all
select 'loads', max(published_seq) from raw.loads
"""


class InboxConfig(dg.Config):
    """How the inbox is loaded."""

    settle_seconds: float = Field(
        default=SETTLE_SECONDS,
        ge=0,
        le=600,
        description="A file untouched for so many seconds is complete; a younger one waits for the next run.",
    )


def raw_tables() -> list[dg.AssetSpec]:
    """One asset per table of the dbt source `raw`."""
    return [
        dg.AssetSpec(
            key=["raw", source["name"]],
            group_name=group_of(source),
            owners=owners_of("raw"),
            description=source["description"],
            kinds={"postgres", "table"},
            metadata={"dagster/table_name": f"raw.{source['name']}", **columns_of(source)},
            freshness_policy=freshness_of(),
        )
        for source in load_manifest()["sources"].values()
        if source["source_name"] == "raw"
    ]


@dg.multi_asset(
    name="inbox",
    pool=INBOX_POOL,
    specs=raw_tables(),
    check_specs=[
        dg.AssetCheckSpec(
            FILES_LOADED,
            asset=LEDGER,
            description="No file of the inbox was broken and moved to its folder `failed`.",
        )
    ],
)
def inbox(
    context: dg.AssetExecutionContext, config: InboxConfig
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Migrate, load what lies in the inbox folder, move the files to `done` or `failed`."""
    with one_owner_of_retries(), connect(resolve(), autocommit=True) as connection:
        for label in migrate(connection):
            context.log.info(f"Migrated: {label}")
        results = ingest_inbox(
            connection,
            inbox_folder(),
            settle_seconds=config.settle_seconds,
            report=lambda result: context.log.info(described(result)),
        )
        newest = newest_loads(connection)
    loaded = defaultdict(list)
    for result in results:
        loaded[result.stream].append(result)
        loaded[LEDGER.path[-1]].append(result)
    for spec in context.assets_def.specs:
        stream = spec.key.path[-1]
        yield dg.MaterializeResult(
            asset_key=spec.key,
            metadata={
                "files": len(loaded[stream]),
                "rows_loaded": sum(result.loaded for result in loaded[stream]),
                "records_rejected": sum(result.rejected for result in loaded[stream]),
            },
            # With nothing new the models below do not show as out of date.
            data_version=dg.DataVersion(str(newest.get(stream) or 0)),
        )
    failed = [result for result in results if result.status == FAILED]
    yield dg.AssetCheckResult(
        check_name=FILES_LOADED,
        asset_key=LEDGER,
        passed=not failed,
        metadata={"failed": [f"{result.file}: {result.error}" for result in failed]} if failed else {},
    )


def newest_loads(connection: psycopg.Connection) -> dict[str, int]:
    """Stream → `published_seq` of its newest load; `loads` → that of any."""
    return dict(connection.execute(NEWEST_LOADS).fetchall())


def described(result: LoadResult) -> str:
    """One line for the run's log."""
    if result.status in (FAILED, LEFT_ALONE):
        return f"{result.status}: {result.file}: {result.error or result.note}"
    return f"{result.status}: {result.file} ({result.loaded} rows, {result.rejected} records rejected)"
