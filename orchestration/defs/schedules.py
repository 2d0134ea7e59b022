"""Schedules: the same in every environment, running where the environment's registration says so."""

from dataclasses import dataclass

import dagster as dg

from orchestration.environments import Environment, environment


@dataclass(frozen=True)
class Planned:
    """A job and when it starts, UTC."""

    name: str
    job: str
    cron: str
    description: str


PLANNED = (
    Planned("hourly_refresh", "refresh", "5 * * * *", "Five minutes past each hour."),
    Planned("daily_retention", "retention", "0 2 * * *", "02:00 each night."),
    Planned("nightly", "nightly", "35 2 * * *", "Each night, between two hourly refreshes."),
    Planned("weekly_maintenance", "maintenance", "40 3 * * 0", "Sundays, between two hourly refreshes."),
)


def schedules_for(where: Environment) -> list[dg.ScheduleDefinition]:
    """The schedules as they start in an environment."""
    return [
        dg.ScheduleDefinition(
            name=planned.name,
            job_name=planned.job,
            cron_schedule=planned.cron,
            execution_timezone="UTC",
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
