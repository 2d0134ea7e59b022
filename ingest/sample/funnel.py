"""The launch funnel: landing pages with campaigns, leads, check-outs, purchases."""

from decimal import Decimal
from typing import Any

from ingest.sample.clock import AS_OF_MS, HOUR, MINUTE, iso
from ingest.sample.context import Sample
from ingest.sample.tracking import number, snake_keys
from ingest.sample.truth import group_of
from ingest.sample.world import CAMPAIGNS, FUNNEL_APP, REFERRERS, USER_AGENTS, Person, new_id, pick

SITE = "https://launch.example"
LONGEST_WALK = 12 * MINUTE
PRICES = (Decimal("29.90"), Decimal("99.00"), Decimal("129.90"))


class _Walk:
    """One session in the funnel."""

    def __init__(self, sample: Sample, anonymous_id: str, at: int, user_id: str | None, with_session: bool = True):
        self.sample = sample
        self.anonymous_id = anonymous_id
        self.user_id = user_id
        self.now = at
        self.session_id = f"fsess_{sample.rng.getrandbits(48):012x}" if with_session else None
        self.campaign = pick(sample.rng, CAMPAIGNS)
        self.referrer = pick(sample.rng, REFERRERS)
        self.user_agent = pick(sample.rng, USER_AGENTS)
        self.delay = int((3 + 57 * sample.rng.random()) * HOUR) if sample.chance(0.03) else 0
        if self.delay:
            sample.truth.trap("straggling_session")

    def wait(self, low_seconds: float, high_seconds: float) -> None:
        self.now += 1 + self.sample.milliseconds(low_seconds, high_seconds)

    def event(self, name: str, page: str, **more: Any) -> None:
        """Track an event; `page_view` is a view, `isConversion` a goal."""
        source, medium, campaign = self.campaign
        record = {
            "eventId": new_id(self.sample.rng),
            "eventName": name,
            "funnelId": FUNNEL_APP,
            "anonymousId": self.anonymous_id,
            "sessionId": self.session_id,
            "userId": self.user_id,
            "timestamp": iso(self.now),
            "pageUrl": SITE + page,
            "referrer": self.referrer,
            "userAgent": self.user_agent,
            "utmSource": source,
            "utmMedium": medium,
            "utmCampaign": campaign,
            **more,
        }
        record = {key: value for key, value in record.items() if value is not None}
        other_style = snake_keys(record)
        if self.sample.chance(0.1):
            record, other_style = other_style, record
            self.sample.truth.trap("snake_case_keys")
        self.sample.delivery.send("events", record, self.now, self.delay, other_style=other_style)
        truth, group = self.sample.truth, group_of(self.session_id, self.anonymous_id, self.user_id)
        person = f"u:{self.user_id}" if self.user_id else f"a:{self.anonymous_id}"
        if name == "page_view":
            truth.page_view(FUNNEL_APP, group, self.now, person)
        elif more.get("isConversion"):
            truth.goal(FUNNEL_APP, group, self.now, person)
        else:
            truth.activity(FUNNEL_APP, group, self.now, person)


def visit(sample: Sample, visitor: int, at: int, buyer: Person | None) -> None:
    """One visitor's session in the funnel; `buyer` is the web app's user they turn out to be, if they buy."""
    if at > AS_OF_MS - LONGEST_WALK:
        return
    walk = _Walk(sample, f"fv_{visitor:06d}", at, None, with_session=not sample.chance(0.03))
    if not walk.session_id:
        sample.truth.trap("event_with_anonymous_id_only")
    walk.event("page_view", "/launch")
    for page, share in (("/launch/features", 0.6), ("/launch/pricing", 0.7)):
        if not sample.chance(share):
            return
        walk.wait(5, 120)
        walk.event("page_view", page)
    if sample.chance(0.5):
        walk.wait(2, 20)
        walk.event("cta_clicked", "/launch/pricing", properties={"ctaId": "buy"})
    if not sample.chance(0.45):
        return
    walk.wait(3, 30)
    walk.event("checkout_started", "/launch/checkout")
    if not sample.chance(0.6):
        return
    walk.wait(30, 240)
    if buyer and buyer.user_id and sample.chance(0.4):
        walk.user_id = buyer.user_id
        sample.truth.signed_in(walk.anonymous_id, buyer.user_id, walk.now)
        sample.truth.trap("purchase_names_the_user")
    revenue = number(pick(sample.rng, PRICES))
    walk.event("purchase_completed", "/launch/thanks", isConversion=True, revenue=revenue, currency="EUR")


def shared_computer(sample: Sample, day_at: int, household: int, day: int) -> None:
    """Two users and one browser profile over six days: whose an anonymous visit is depends on its time.

    Nobody at first (the first user's), user 1, nobody (still user 1's), user 2, nobody (user 2's).
    """
    users = (f"family_{household:03d}_1", f"family_{household:03d}_2")
    user_id = (None, users[0], None, users[1], None)[day]
    walk = _Walk(sample, f"shared_{household:03d}", day_at + 17 * HOUR + household * MINUTE, user_id)
    if user_id:
        sample.truth.signed_in(walk.anonymous_id, user_id, walk.now, shared=True)
    for page in ("/launch", "/launch/pricing"):
        walk.event("page_view", page)
        walk.wait(10, 60)
    sample.truth.trap("shared_computer")
