"""All seeds and models as one asset function, since each call of dbt costs seconds."""

from collections.abc import Collection, Iterator
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets
from pydantic import Field

from ingest.connection import Server, resolve
from ingest.errors import TidemarkError
from orchestration.dbt_manifest import artifacts_folder, load_manifest
from orchestration.dbt_process import LOGS_KEPT, RUNS_KEPT, prune_runs
from orchestration.dbt_run import DbtRun
from orchestration.defs.dbt.translator import Translator, attach_tests
from orchestration.failures import one_owner_of_retries
from orchestration.instance import POOL, instance_folder
from orchestration.refresh import refreshing, set_phase
from orchestration.replay import Days, days_between
from orchestration.selection import NIGHTLY, arguments_to_build, arguments_to_test, lean_tests_of, selectors

MANIFEST = attach_tests(load_manifest())
TRANSLATOR = Translator()
UNIQUE_ID = "dagster_dbt/unique_id"


class ModelsConfig(dg.Config):
    """What a run builds, and how."""

    full_refresh: bool = Field(
        default=False,
        description="Build the selected incremental models whole instead of what the new loads touch.",
    )
    replay_from: str = Field(
        default="",
        description="First UTC day to re-process, as in 2026-03-01. Only with every model selected.",
    )
    replay_to: str = Field(default="", description="Last UTC day to re-process; it is replayed too.")

    def days(self) -> Days | None:
        """The days to replay.

        Raises:
            TidemarkError: one is missing or no date, or they stand in the wrong order.
        """
        return days_between(self.replay_from, self.replay_to) if self.replay_from or self.replay_to else None


@dbt_assets(manifest=MANIFEST, name="models", dagster_dbt_translator=TRANSLATOR, pool=POOL)
def models(context: dg.AssetExecutionContext, config: ModelsConfig) -> Iterator[Any]:
    """Build, then test.

    With every model selected this is a refresh: it reads all loads committed so far and moves the mark. With
    fewer it builds them up to the last mark, which stays.
    """
    runs = artifacts_folder() / "runs"
    prune_runs(runs, RUNS_KEPT)
    prune_runs(instance_folder() / "logs", LOGS_KEPT)
    run = DbtRun(context, MANIFEST, TRANSLATOR, runs / f"{context.run_id[:8]}-{context.retry_number}")
    with one_owner_of_retries():
        days = config.days()
        server = resolve()
        if context.selected_asset_keys == set(models.keys):
            yield from refresh(run, server, full_refresh=config.full_refresh, days=days)
        elif days:
            raise TidemarkError("A replay needs every model: start the job `replay`.")
        else:
            yield from build_to_the_mark(run, server, full_refresh=config.full_refresh)


def refresh(run: DbtRun, server: Server, *, full_refresh: bool, days: Days | None) -> Iterator[Any]:
    """Build and test everything within a refresh, which also replays `days`.

    Raises:
        TidemarkError: another refresh runs, the schema is not there, or models failed.
    """
    with refreshing(server, "prod", MANIFEST, days) as state:
        run.context.log.info(
            f"Refresh {state.refresh_id}: loads {state.from_seq} to {state.to_seq}, as of {state.as_of}, "
            f"{state.touched_groups} session groups touched, {len(state.rebuilt)} models built whole."
        )
        environment = state.environment(server)
        built = set(MANIFEST["nodes"]) if full_refresh else state.to_build
        if built:
            chosen = None if full_refresh else selectors(MANIFEST, built)
            yield from run.dbt("build", arguments_to_build(chosen, full_refresh=full_refresh), environment)
            state.models_failed = run.failed("build")
        tests = tests_of_refresh(run.context, built)
        if tests and not state.models_failed:
            set_phase(server, state, "tests")
            yield from run.dbt("test", arguments_to_test(tests), environment)
            state.tests_failed = run.failed("test")
    raise_for(state.models_failed, run)


def build_to_the_mark(run: DbtRun, server: Server, *, full_refresh: bool) -> Iterator[Any]:
    """Build the selected models to the last mark and run the selected checks.

    Raises:
        TidemarkError: a refresh runs, or models failed.
    """
    environment = server.environment() | {"TIDEMARK_REFRESH_ID": ""}
    selected = selectors(
        MANIFEST, [models.specs_by_key[key].metadata[UNIQUE_ID] for key in run.context.selected_asset_keys]
    )
    if selected:
        yield from run.dbt("build", arguments_to_build(selected, full_refresh=full_refresh), environment)
        raise_for(run.failed("build"), run)
    if run.context.selected_asset_check_keys:
        yield from run.dbt("test", arguments_to_test(tests_to_run(run.context)), environment)


def tests_of_refresh(context: dg.AssetExecutionContext, built: Collection[str]) -> list[str]:
    """dbt selectors of the selected checks that say something new: of what was built, and those of all history."""
    telling = lean_tests_of(MANIFEST, built)
    specs = [spec for spec in models.check_specs if spec.key in context.selected_asset_check_keys]
    tests = [spec.metadata[UNIQUE_ID] for spec in specs]
    return selectors(
        MANIFEST, [test for test in tests if test in telling or NIGHTLY in MANIFEST["nodes"][test]["tags"]]
    )


def tests_to_run(context: dg.AssetExecutionContext) -> list[str] | None:
    """dbt selectors of the tests behind the selected checks, None when they are all selected."""
    selected = context.selected_asset_check_keys
    every = {spec.key: spec for spec in models.check_specs}
    if set(selected) == set(every):
        return None
    return selectors(MANIFEST, [every[key].metadata[UNIQUE_ID] for key in selected])


def checks_tagged(tag: str) -> list[dg.AssetCheckKey]:
    """The checks whose dbt test carries `tag`."""
    return [spec.key for spec in models.check_specs if tag in MANIFEST["nodes"][spec.metadata[UNIQUE_ID]]["tags"]]


def raise_for(failed: list[str], run: DbtRun) -> None:
    """Fail the run, naming what failed and dbt's first words on it.

    Raises:
        TidemarkError: `failed` is not empty.
    """
    if failed:
        raise TidemarkError(
            f"{len(failed)} models failed or were skipped ({', '.join(failed[:5])}): {run.first_error('build')}. "
            "Mend that and run again; the mark stays and the work list is kept."
        )
