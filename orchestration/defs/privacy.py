"""The job `privacy`. No id is part of its configuration: Dagster keeps that, and no erasure reaches it."""

import dagster as dg
from pydantic import Field

from ingest.connection import resolve
from orchestration.failures import one_owner_of_retries
from orchestration.instance import POOL
from orchestration.privacy import answer_requests, truncate_addresses
from orchestration.privacy.requests import TYPES


class PrivacyConfig(dg.Config):
    """Which requests are answered."""

    types: list[str] = Field(
        default=list(TYPES),
        description=f"Requests of these types: {', '.join(TYPES)}.",
    )
    most: int = Field(default=0, ge=0, description="Answer so many at most; 0 for all that wait.")
    dry_run: bool = Field(default=False, description="Say how many wait, and change nothing.")
    cut_addresses: bool = Field(
        default=True,
        description="Cut the IP addresses of old events to their networks (seed privacy_settings).",
    )


@dg.op(pool=POOL)
def answer_privacy_requests(context: dg.OpExecutionContext, config: PrivacyConfig) -> None:
    """Finish erasures that were stopped, answer what was asked in the stream privacy_requests, cut old addresses."""
    server = resolve()
    with one_owner_of_retries():
        answers = answer_requests(server, config.types, most=config.most or None, dry_run=config.dry_run)
        cut = truncate_addresses(server) if config.cut_addresses and not config.dry_run else 0
    problems = [one for one in answers if one.problem]
    for one in problems:
        context.log.warning(f"{one.content_hash} {one.request_type}: {one.problem}")
    context.add_output_metadata(
        {
            "dry_run": config.dry_run,
            **{kind: sum(one.request_type == kind for one in answers) for kind in TYPES},
            "not_answered": len(problems),
            "addresses_cut": cut,
        }
    )


@dg.job(
    name="privacy",
    executor_def=dg.in_process_executor,
    description="Answer the privacy requests that were loaded (erase, export, opt out, opt in), oldest first, and cut "
    "old addresses. An erasure has no way back; it refreshes the marts.",
)
def privacy() -> None:
    """One op."""
    answer_privacy_requests()
