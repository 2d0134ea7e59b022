"""The job `export`: marts for a period to files, by hand or each month."""

from enum import Enum

import dagster as dg
from pydantic import Field

from ingest.connection import resolve
from orchestration.exports.monthly import monthly_marts
from orchestration.exports.run import Request
from orchestration.exports.run import export as run_export
from orchestration.failures import one_owner_of_retries
from orchestration.instance import READING_POOL


class Format(Enum):
    """Of the files."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class ExportConfig(dg.Config):
    """What is exported, to a folder of its own in the folder of exports."""

    marts: list[str] = Field(default=[], description="Names of marts; none for those of the seed monthly_exports.")
    format: Format = Field(default=Format.CSV, description="Of the files.")
    month: str | None = Field(default=None, description="As in 2026-03. Without a period, the month before this one.")
    period: str | None = Field(default=None, description="Whole days before today, as in 30d.")
    first_day: str | None = Field(default=None, description="UTC day, as in 2026-03-01.")
    last_day: str | None = Field(default=None, description="UTC day; it is exported too.")
    include_insights: bool = Field(default=True, description="Anomalies, forecasts and recommendations too.")
    replace: bool = Field(default=False, description="Replace an export of that period and format.")


@dg.op(pool=READING_POOL, description="Write the marts as of one moment, with a manifest of rows and checksums.")
def export_marts(context: dg.OpExecutionContext, config: ExportConfig) -> None:
    with one_owner_of_retries():
        request = Request(
            names=config.marts or monthly_marts(),
            insights=config.include_insights,
            format=config.format.value,
            month=config.month,
            days=config.period,
            first=config.first_day,
            last=config.last_day,
            replace=config.replace,
        )
        done = run_export(
            resolve(reading=True), request, report=lambda file: context.log.info(f"{file.mart}: {file.rows} rows")
        )
    context.add_output_metadata(
        {
            "folder": dg.MetadataValue.path(str(done.folder)),
            "files": len(done.files),
            "rows": sum(file.rows for file in done.files),
            "bytes": sum(file.bytes for file in done.files),
        }
    )


@dg.job(description="Marts for a period to JSON, CSV or Parquet files.", executor_def=dg.in_process_executor)
def export() -> None:
    export_marts()
