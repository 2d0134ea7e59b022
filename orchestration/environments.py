"""Where this Dagster runs, and which of its schedules and sensors run there. One place; an unknown name raises."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from ingest.errors import TidemarkError

VARIABLE = "TIDEMARK_ENVIRONMENT"
USUAL = "development"


@dataclass(frozen=True)
class Environment:
    """What differs between environments. `running` names the schedules and sensors that run from the start; the others
    are there too, stopped, to be turned on in the UI."""

    name: str
    running: frozenset[str] = field(default_factory=frozenset)
    # After how long without a materialization an hourly asset is late, and when it fails. None: nobody waits for it.
    late_after: timedelta | None = None
    fails_after: timedelta | None = None


HOURLY = ("hourly_refresh", "inbox_files", "run_failed", "hourly_quality")
DAILY = ("nightly", "daily_retention", "daily_privacy", "weekly_maintenance", "monthly_export")
TOLD = ("alerts_every_five_minutes",)

ENVIRONMENTS: Mapping[str, Environment] = {
    known.name: known
    for known in (
        Environment("development"),
        # Data that comes and goes as in production, but nothing is ever purged or erased, and nobody is woken.
        Environment(
            "staging",
            running=frozenset((*HOURLY, "nightly", "weekly_maintenance", "monthly_export")),
            late_after=timedelta(hours=6),
            fails_after=timedelta(hours=24),
        ),
        Environment(
            "production",
            running=frozenset((*HOURLY, *DAILY, *TOLD)),
            late_after=timedelta(hours=2),
            fails_after=timedelta(hours=4),
        ),
    )
}


def environment(name: str | None = None) -> Environment:
    """The environment of that name, else the one that TIDEMARK_ENVIRONMENT names, else development.

    Raises:
        TidemarkError: there is no such environment.
    """
    name = name or os.environ.get(VARIABLE) or USUAL
    if name not in ENVIRONMENTS:
        raise TidemarkError(
            f"There is no environment {name!r}: {VARIABLE} is one of {', '.join(ENVIRONMENTS)}, or not set."
        )
    return ENVIRONMENTS[name]
