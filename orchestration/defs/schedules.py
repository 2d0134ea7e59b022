"""Schedules: the same in every environment, running where the environment's registration says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from orchestration.environments import Environment, environment


@dataclass(frozen=True)
class Planned:
    """A job and when it starts, UTC."""

    name: str
    job: str
    cron: str
    description: str
    run_config: Mapping[str, Any] = field(default_factory=dict)


PLANNED = (
    Planned("hourly_refresh", "refresh", "5 * * * *", "Five minutes past each hour."),
    Planned("daily_retention", "retention", "0 2 * * *", "02:00 each night."),
    Planned("daily_privacy", "privacy", "20 2 * * *", "Each night, between two hourly refreshes."),
    Planned("nightly", "nightly", "35 2 * * *", "Each night, between two hourly refreshes."),
    Planned("weekly_maintenance", "maintenance", "40 3 * * 0", "Sundays, between two hourly refreshes."),
    Planned("hourly_quality", "quality", "25 * * * *", "When the hourly refresh is done."),
    Planned(
        "alerts_every_five_minutes",
        "alerts",
        "*/5 * * * *",
        "What a refresh found, what waited for quiet hours to end, and what a channel did not take before.",
    ),
    Planned(
        "monthly_export",
        "export",
        "15 4 1 * *",
        "The month before, on the first of each month.",
        # a run that is tried again finds its month there already
        {"ops": {"export_marts": {"config": {"replace": True}}}},
    ),
)


def schedules_for(where: Environment) -> list[dg.ScheduleDefinition]:
    """The schedules as they start in an environment."""
    return [
        dg.ScheduleDefinition(
            name=planned.name,
            job_name=planned.job,
            cron_schedule=planned.cron,
            execution_timezone="UTC",
            run_config=planned.run_config,
            default_status=dg.DefaultScheduleStatus.RUNNING
            if planned.name in where.running
            else dg.DefaultScheduleStatus.STOPPED,
            description=planned.description,
        )
        for planned in PLANNED
    ]


@dg.definitions
def schedules() -> dg.Definitions:
    """Those of the environment Dagster runs in."""
    return dg.Definitions(schedules=schedules_for(environment()))
