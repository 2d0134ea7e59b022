"""The job that tells what anomalies and budgets have to say."""

import dagster as dg
from pydantic import Field

from ingest.connection import resolve
from orchestration.alerts.run import send
from orchestration.failures import one_owner_of_retries
from orchestration.instance import ALERTS_POOL


class AlertsConfig(dg.Config):
    """What a run of the alerts is to do."""

    digest: bool = Field(default=False, description="Send the daily digest now instead of at its hour.")


@dg.op(
    pool=ALERTS_POOL,
    description="Notice what is new, send what is due. A channel that does not answer is tried again by later runs.",
)
def send_alerts(context: dg.OpExecutionContext, config: AlertsConfig) -> None:
    with one_owner_of_retries():
        done = send(resolve(reading=True), digest=config.digest)
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
