"""Schedules. They start stopped: whoever runs the warehouse turns them on in the UI."""

import dagster as dg

hourly_refresh = dg.ScheduleDefinition(
    name="hourly_refresh",
    job_name="refresh",
    cron_schedule="5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Five minutes past each hour.",
)

nightly_checks = dg.ScheduleDefinition(
    name="nightly_checks",
    job_name="check_all",
    cron_schedule="35 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Each night, between two hourly refreshes.",
)
