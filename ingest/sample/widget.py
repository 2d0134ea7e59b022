"""The chat widget on a shop's pages: sessions of events, posted in small batches."""

from typing import Any

from ingest.sample.clock import DAY, MINUTE, SECOND, iso
from ingest.sample.context import Sample
from ingest.sample.tracking import feedback, request_record
from ingest.sample.truth import group_of
from ingest.sample.world import (
    CAMPAIGNS,
    MODELS,
    REFERRERS,
    SCREENS,
    USER_AGENTS,
    WIDGET_APP,
    between,
    pick,
)

SHOP = "https://shop.example"
PAGES = (("/pricing", "Pricing"), ("/", "Home"), ("/products/lamp", "Lamp"), ("/help", "Help"))
WRONG_CLOCK = -7 * 365 * DAY
BATCH_SIZE = 4
MIDNIGHT_MARGIN = 90 * MINUTE


class _Widget:
    """One widget session: what the visitor does, and the events waiting to be posted."""

    def __init__(self, sample: Sample, visitor: int, at: int):
        rng = sample.rng
        self.sample = sample
        self.now = at
        self.anonymous_id = f"visitor_{visitor:06d}"
        self.session_id = f"wsess_{rng.getrandbits(48):012x}"
        self.group = group_of(self.session_id, None, None)
        self.page, self.title = pick(rng, PAGES)
        source, medium, campaign = pick(rng, CAMPAIGNS)
        width, height = SCREENS[visitor % len(SCREENS)]
        known = {
            "referrer": pick(rng, REFERRERS),
            "utm_source": source,
            "utm_medium": medium,
            "utm_campaign": campaign,
        }
        self.about: dict[str, Any] = {
            "anonymous_id": self.anonymous_id,
            "user_agent": USER_AGENTS[visitor % len(USER_AGENTS)],
            "ip_address": f"203.0.113.{visitor % 250 + 1}",
            **{key: value for key, value in known.items() if value},
            "landing_page": self.page,
            "screen_width": width,
            "screen_height": height,
        }
        self.counters = sample.chance(0.12)
        self.wrong_clock = sample.chance(0.02)
        self.delay = int((3 + 57 * rng.random()) * 60 * MINUTE) if sample.chance(0.03) else 0
        if self.delay:
            sample.truth.trap("straggling_session")
        if self.wrong_clock:
            sample.truth.trap("client_clock_wrong")
        self._waiting: list[dict[str, Any]] = []

    def wait(self, low_seconds: float, high_seconds: float) -> None:
        self.now += 1 + self.sample.milliseconds(low_seconds, high_seconds)

    def event(self, name: str, category: str, properties: dict[str, Any], measure: str | None = None) -> None:
        """Something happens in the widget; `measure` is what it adds to the app's day."""
        record = {
            "event_name": name,
            "event_category": category,
            "properties": properties,
            "page_url": SHOP + self.page,
            "page_title": self.title,
        }
        if self.wrong_clock:
            record |= {"client_timestamp": iso(self.now + WRONG_CLOCK), "timestamp": iso(self.now)}
        else:
            record["client_timestamp"] = iso(self.now)
        self.sample.truth.activity(WIDGET_APP, self.group, self.now, f"a:{self.anonymous_id}")
        if measure:
            self.sample.truth.count(WIDGET_APP, self.now, measure)
        if self.sample.chance(0.08):
            self._server_side(record)
        else:
            self._waiting.append(record)
        if len(self._waiting) >= BATCH_SIZE:
            self.post()

    def post(self) -> None:
        """Send what waits, in one body."""
        if not self._waiting:
            return
        body = {"chatbotId": WIDGET_APP, "sessionId": self.session_id, **self.about, "events": self._waiting}
        bad_elements = 0
        if self.sample.chance(0.004):
            body["events"] = [*self._waiting, {"event_category": "engagement", "client_timestamp": iso(self.now)}]
            bad_elements = 1
        self.sample.delivery.send("events", body, self.now + 5 * SECOND, self.delay, bad_elements)
        self.sample.truth.trap("event_bodies")
        self._waiting = []

    def tell_session(self) -> None:
        """The server's session row, told as an event; it describes the same visit."""
        if not self.counters:
            return
        record = {"event_name": "session_upsert", "chatbotId": WIDGET_APP, "sessionId": self.session_id}
        record |= {**self.about, "timestamp": iso(self.now)}
        self.sample.delivery.send("events", record, self.now, self.delay)
        self.sample.truth.trap("session_upsert")

    def increment(self, what: str) -> None:
        """The server's message counter, told as an event: the same message once more."""
        if not self.counters:
            return
        record = {
            "event_name": "session_increment",
            "chatbotId": WIDGET_APP,
            "sessionId": self.session_id,
            "properties": {"counter": what, "increment": 1},
            "timestamp": iso(self.now),
        }
        self.sample.delivery.send("events", record, self.now, self.delay)
        self.sample.truth.trap("session_increment")

    def talk(self, messages: int) -> None:
        """Ask and be answered; most answers are LLM requests of the widget."""
        rng = self.sample.rng
        for _ in range(messages):
            self.wait(5, 60)
            properties = {"message_length": 10 + between(rng, 0, 300), "has_attachment": self.sample.chance(0.05)}
            self.event("message_sent", "engagement", properties, "messages_sent")
            self.increment("messages_sent")
            response = 600 + between(rng, 0, 3600)
            self.now += response
            self.event("message_received", "engagement", {"response_time_ms": response}, "messages_received")
            self.increment("messages_received")
            if self.sample.chance(0.6):
                self._asked()
            if response > 3000:
                self.now += 20
                self.event("slow_response", "performance", {"response_time_ms": response})

    def identify(self, number: int) -> None:
        """The visitor gives a name; only the stream of identifies tells."""
        user_id = f"shopper_{number:06d}"
        record = {
            "sessionId": self.session_id,
            "anonymousId": self.anonymous_id,
            "user_id": user_id,
            "user_email": f"shopper{number}@example.com",
            "user_name": f"Shopper {number}",
            "user_metadata": {"plan": "pro", "signup_date": "2024-01-01"},
            "timestamp": iso(self.now),
        }
        self.sample.delivery.send("identifies", record, self.now)
        self.sample.truth.signed_in(self.anonymous_id, user_id, self.now)

    def _server_side(self, record: dict[str, Any]) -> None:
        flat = {"chatbotId": WIDGET_APP, "sessionId": self.session_id, **self.about, **record}
        self.sample.delivery.send("events", flat, self.now, self.delay)

    def _asked(self) -> None:
        sample = self.sample
        model = MODELS[1] if sample.chance(0.7) else MODELS[4]
        prompt, completion = 400 + between(sample.rng, 0, 1800), 40 + between(sample.rng, 0, 260)
        cost = model.cost(prompt, completion)
        record = request_record(sample, self.now, model, prompt, completion, cost)
        record |= {"chatbotId": WIDGET_APP, "sessionId": self.session_id, "featureId": "widget-answer"}
        sample.delivery.send("llm_requests", record, self.now, self.delay)
        sample.truth.llm(WIDGET_APP, self.group, self.now, f"a:{self.anonymous_id}", prompt + completion, cost)
        if sample.chance(0.1):
            feedback(sample, self.now + 9 * SECOND, record["requestId"], self.delay)


def visit(sample: Sample, visitor: int, at: int) -> None:
    """One visitor's widget session. None runs past midnight, so a visit's messages are of its day."""
    if DAY - at % DAY < MIDNIGHT_MARGIN:
        return
    widget = _Widget(sample, visitor, at)
    widget.tell_session()
    widget.event("widget_loaded", "system", {}, "widget_loads")
    if sample.chance(0.55):
        _open(sample, widget, visitor)
    widget.post()
    if sample.chance(0.03):
        # The page stays open over lunch: the same session id, another visit.
        widget.now += 31 * MINUTE + sample.milliseconds(0, 1500)
        widget.event("widget_opened", "engagement", {"trigger": "button"}, "widget_opens")
        widget.talk(1)
        widget.post()
        sample.truth.trap("widget_session_returns_after_gap")


def _open(sample: Sample, widget: _Widget, visitor: int) -> None:
    widget.wait(2, 40)
    widget.event("widget_opened", "engagement", {"trigger": pick(sample.rng, ("button", "timer"))}, "widget_opens")
    if sample.chance(0.3):
        widget.wait(0.2, 1)
        widget.event("pre_chat_form_shown", "engagement", {})
        if sample.chance(0.6):
            widget.wait(5, 40)
            widget.event("pre_chat_form_submitted", "engagement", {"fields": 2})
            widget.now += 30
            widget.identify(visitor)
    if sample.chance(0.7):
        widget.talk(1 + between(sample.rng, 0, 4))
    if sample.chance(0.15):
        widget.wait(2, 20)
        widget.event("feedback_given", "engagement", {"rating": 1 + int(sample.rng.random() * 5)})
    if sample.chance(0.03):
        widget.wait(1, 5)
        widget.event("widget_error", "error", {"message": "socket closed"}, "errors")
    if sample.chance(0.6):
        widget.wait(1, 30)
        widget.event("widget_minimized", "engagement", {})
