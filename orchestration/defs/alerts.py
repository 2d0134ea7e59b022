"""The job that tells what anomalies and budgets have to say, and its schedule."""

import dagster as dg
from pydantic import Field

from ingest.connection import resolve
from ingest.errors import TidemarkError
from orchestration.alerts.run import send


class AlertsConfig(dg.Config):
    """What a run of the alerts is to do."""

    digest: bool = Field(default=False, description="Send the daily digest now instead of at its hour.")


@dg.op(description="Notice what is new, send what is due. A channel that does not answer is tried again by later runs.")
def send_alerts(context: dg.OpExecutionContext, config: AlertsConfig) -> None:
    try:
        done = send(resolve(reading=True), digest=config.digest)
    except TidemarkError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    for line in done.problems():
        context.log.warning(line)
    context.log.info(f"{done.raised} new alerts, {done.worsened} grew worse, {done.sent} messages sent.")
    context.add_output_metadata(
        {"raised": done.raised, "worsened": done.worsened, "composed": done.composed, "sent": done.sent}
    )


@dg.job(
    description="Tell each channel once what anomalies and budgets have to say.", executor_def=dg.in_process_executor
)
def alerts() -> None:
    send_alerts()


alerts_every_five_minutes = dg.ScheduleDefinition(
    name="alerts_every_five_minutes",
    job=alerts,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="What a refresh found, what waited for quiet hours to end, and what a channel did not take before.",
)
