"""The dbt calls of one Dagster run, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliInvocation
from packaging.version import Version

from ingest.errors import TidemarkError
from orchestration.dbt_process import running_dbt

# As dbt's run_results.json has them; a skipped node stands below one that failed.
ERRORS = ("error", "fail", "runtime error", "partial success")
SKIPPED = "skipped"


def one_line(text: str) -> str:
    """The text without line breaks, cut to what an error message can carry."""
    return " ".join(text.split())[:1000]


class DbtRun:
    """The dbt calls of one Dagster run, each with a target folder of its own below `folder`."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        manifest: Mapping[str, Any],
        translator: DagsterDbtTranslator,
        folder: Path,
    ) -> None:
        self.context = context
        self.manifest = manifest
        self.translator = translator
        self.folder = folder

    def dbt(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> Iterator[Any]:
        """Run dbt in `folder/name`; yields an output per model and a check result per test.

        Raises:
            TidemarkError: dbt stopped before it ran anything.
        """
        target = self.folder / name
        with running_dbt(arguments, target, environment) as process:
            invocation = DbtCliInvocation(
                process=process,
                manifest=self.manifest,
                dagster_dbt_translator=self.translator,
                project_dir=self.folder,
                target_path=target,
                raise_on_error=False,
                cli_version=Version(version("dbt-core")),
                context=self.context,
            )
            yield from invocation.stream()
        if not (target / "run_results.json").exists():
            raise TidemarkError(f"dbt stopped: {one_line(str(invocation.get_error()))}")

    def results(self, name: str) -> list[Mapping[str, Any]]:
        """dbt's own account of the call, one entry per node."""
        return json.loads((self.folder / name / "run_results.json").read_bytes())["results"]

    def failed(self, name: str) -> list[str]:
        """Names of the nodes that failed or were skipped."""
        return [
            result["unique_id"].split(".")[2] for result in self.results(name) if result["status"] in (*ERRORS, SKIPPED)
        ]

    def first_error(self, name: str) -> str:
        """What dbt says on the first node that failed itself."""
        errors = (result for result in self.results(name) if result["status"] in ERRORS)
        first = next(errors, None)
        return one_line(first["message"] or "no message") if first else "see the log"
