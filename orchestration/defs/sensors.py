"""Sensors: a file that arrives in the inbox is loaded; a run that fails is written down."""

import hashlib
import time
from collections.abc import Iterator

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG

from ingest.connection import connect, resolve
from ingest.errors import TidemarkError
from ingest.inbox import SETTLE_SECONDS, identity, inbox_folder, waiting
from orchestration.environments import environment

KEPT_CHARACTERS = 4000

NOTE = """
insert into ops.run_failures (run_id, job, error) values (%s, %s, %s)
on conflict (run_id) do nothing
"""


def status_of(name: str) -> dg.DefaultSensorStatus:
    """Whether a sensor runs from the start in this environment."""
    running = name in environment().running
    return dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED


@dg.sensor(
    name="inbox_files",
    job_name="ingest",
    minimum_interval_seconds=30,
    default_status=status_of("inbox_files"),
    description="Loads the inbox when files lie in it that nobody is writing any more.",
)
def inbox_files(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """One run for each state of the inbox: files that a run could not take do not start it over and over."""
    now = time.time_ns()
    found = [(str(path), identity(path)) for path in sorted(waiting(inbox_folder()))]
    complete = [(path, known) for path, known in found if known and now - known[3] >= SETTLE_SECONDS * 1e9]
    if not complete:
        yield dg.SkipReason(f"No complete file lies in {inbox_folder()}.")
        return
    state = hashlib.sha256(repr(complete).encode()).hexdigest()[:32]
    yield dg.RunRequest(run_key=state, tags={"files": str(len(complete))})


@dg.run_failure_sensor(
    name="run_failed",
    minimum_interval_seconds=30,
    default_status=status_of("run_failed"),
    description="Writes each failed run to `ops.run_failures`, once, for alerts and reports.",
)
def run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """Note a failed run and the first line of what went wrong; one that will be tried again is no failure yet."""
    run = context.dagster_run
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return dg.SkipReason("It will be tried again.")
    try:
        with connect(resolve(), autocommit=True) as connection:
            connection.execute(NOTE, [run.run_id, run.job_name, told_by(context)])
    except TidemarkError as error:
        # The database that should keep it may be what failed: Dagster still has the run.
        return dg.SkipReason(str(error))
    return None


def told_by(context: dg.RunFailureSensorContext) -> str:
    """What the failed steps say, else the run."""
    steps = [event.event_specific_data for event in context.get_step_failure_events()]
    said = [step.error.message for step in steps if step.error] or [context.failure_event.message or "no message"]
    return " ".join(" ".join(said).split())[:KEPT_CHARACTERS]
