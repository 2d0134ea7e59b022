"""The three things that go wrong in the last week of every sample, for a detector to find."""

from dataclasses import asdict, dataclass
from random import Random

from ingest.sample.clock import AS_OF_MS, DAY, HOUR, MINUTE, iso
from ingest.sample.world import DEFAULT_APP, EXPENSIVE_MODEL

RUNAWAY_FEATURE = "bulk-summarize"
SHARE_LOST = 0.95
"""Of the visits that would begin during the engagement drop."""


@dataclass(frozen=True)
class Incident:
    """What went wrong, from `start` until before `end` (milliseconds, UTC)."""

    kind: str
    app_id: str
    metric: str
    start: int
    end: int
    cause: str

    def described(self) -> dict[str, object]:
        """As `truth.json` lists it."""
        return {**asdict(self), "start": iso(self.start), "end": iso(self.end)}


# Wednesday, Friday and Monday before the as-of, in busy hours.
COST_SPIKE = Incident(
    "cost_spike",
    DEFAULT_APP,
    "cost_usd",
    AS_OF_MS - 7 * DAY + 14 * HOUR,
    AS_OF_MS - 7 * DAY + 15 * HOUR,
    f"feature {RUNAWAY_FEATURE} calls {EXPENSIVE_MODEL.model} in a loop",
)
SIGN_IN_FAILURES = Incident(
    "auth_failure_spike",
    DEFAULT_APP,
    "sign_in_failed",
    AS_OF_MS - 5 * DAY + 10 * HOUR,
    AS_OF_MS - 5 * DAY + 10 * HOUR + 25 * MINUTE,
    "somebody tries stolen passwords",
)
ENGAGEMENT_DROP = Incident(
    "engagement_drop",
    DEFAULT_APP,
    "sessions, page_views",
    AS_OF_MS - 2 * DAY + 9 * HOUR,
    AS_OF_MS - 2 * DAY + 12 * HOUR,
    "the site cannot be reached",
)
INCIDENTS = (COST_SPIKE, SIGN_IN_FAILURES, ENGAGEMENT_DROP)


def planted(days: int) -> tuple[Incident, ...]:
    """The incidents that fall into a sample of so many days."""
    return tuple(incident for incident in INCIDENTS if incident.start >= AS_OF_MS - days * DAY)


def turned_away(rng: Random, at: int) -> bool:
    """Whether a visit of the web app that would begin at `at` is lost to the engagement drop."""
    return ENGAGEMENT_DROP.start <= at < ENGAGEMENT_DROP.end and rng.random() < SHARE_LOST
