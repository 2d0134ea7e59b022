"""The documentation of every relation and column, as one HTML page."""

import shutil
from pathlib import Path

import dagster as dg

from ingest.connection import resolve
from ingest.errors import TidemarkError
from orchestration.dbt_manifest import artifacts_folder
from orchestration.dbt_process import running_dbt
from orchestration.defs.dbt.translator import owners_of
from orchestration.failures import one_owner_of_retries
from orchestration.instance import POOL

PAGE = "static_index.html"


def page() -> Path:
    """Where the page lies once it is made."""
    return artifacts_folder() / "docs" / PAGE


@dg.asset(
    key=["docs", "relations_and_columns"],
    group_name="docs",
    owners=owners_of("docs"),
    kinds={"dbt", "html"},
    pool=POOL,
    description="One HTML page: every relation and column, described, with the lineage. Made by the nightly job.",
)
def documentation(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Ask dbt for the page and put it where it is found again."""
    target = artifacts_folder() / "runs" / f"{context.run_id[:8]}-docs-{context.retry_number}"
    with one_owner_of_retries():
        with running_dbt(["docs", "generate", "--static"], target, resolve().environment()) as process:
            said = process.communicate()[0].decode(errors="replace")
        if process.returncode != 0 or not (target / PAGE).exists():
            raise TidemarkError(f"dbt made no documentation: {said[-1000:]}")
    page().parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(target / PAGE, page())
    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(page()), "bytes": page().stat().st_size})
