"""Histories for the law tests: what a few people's browsers, widgets and servers send, and when each record arrives.

A history is of one app and of ids of its own, so many of them stand in one database without meeting. Its records hold
`MARK` where its number belongs. Browsers are played by the sample's port of the real client (`ingest.sample.browser`);
times are drawn at the edges of the rules: gaps of 30 minutes and of a millisecond less or more, midnights, runs
of a day, equal times. What a failing one needs is found by `tests.warehouse.proving`, many candidates in one build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

from ingest.sample.browser import Tab
from ingest.sample.clock import DAY, HOUR, MINUTE, SECOND, iso, milliseconds

MARK = "########"
"""Stands for the history's number, eight digits, in every id of a record."""

FIRST_INSTANT = milliseconds("2026-03-01T00:00:00.000Z")
DAYS = 25
DELIVERY_DAYS = DAYS + 20
DAYS_APART = DAYS + 2
SLOTS = 400
A_DATE = re.compile(r"\d{4}-\d{2}-\d{2}T")
AN_EPOCH_TIME = re.compile(r'("createdAt":|"batch_seq":)(\d{13})')
LATE_DAYS = (0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 7, 20)
GAP = 30 * MINUTE
WAITS = (
    *(0, 0, 1, SECOND, SECOND, 4 * SECOND, 4 * SECOND, 9_999, 10 * SECOND, 10_001, 40 * SECOND, 40 * SECOND),
    *(MINUTE, MINUTE + 1, 3 * MINUTE, 3 * MINUTE, 6 * MINUTE, 20 * MINUTE, GAP - 1, GAP, GAP + 1, 2 * HOUR),
)
PAGES = (
    "/",
    "/pricing",
    "/chat/1",
    "/dashboard",
    "/help?topic=a",
    "/pricing?utm_source=google&utm_medium=cpc",
    "/chat/1",
)
MODELS = ("gpt-4o", "gpt-4o", "claude-3-5-haiku")
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
EVENT_NAMES = (
    *(
        "clicked",
        "page_view",
        "page_view",
        "landing_page_view",
        "purchase_completed",
        "sign_in_failed",
        "feature_usage",
    ),
    *("widget_loaded", "widget_opened", "widget_minimized", "message_sent", "message_received"),
    *("pre_chat_form_submitted", "campaign_conversion", "error_shown"),
)
Record = dict[str, Any]
Option = TypeVar("Option")


@dataclass(frozen=True)
class Sent:
    """One record: its stream and text, when it was sent (ms), in which rounds of loading it arrives."""

    stream: str
    text: str
    at: int
    rounds: tuple[float, ...]
    """Each a place on the time of delivery, from 0 to below 1; more than one is a record delivered again."""


@dataclass(frozen=True)
class History:
    """The records of one app. `rounds` of its records say when each is loaded."""

    sent: tuple[Sent, ...]

    def without(self, start: int, stop: int) -> History:
        """The same history, but for those records."""
        return replace(self, sent=self.sent[:start] + self.sent[stop:])

    def lines(self, number: int, apart: bool = True) -> list[tuple[Sent, bytes]]:
        """Its records as history `number`, a line each; with `apart` on days hardly any other history has, so that none
        is put right by what happens to another."""
        days = DAYS_APART * (number % SLOTS) if apart else 0
        return [(sent, moved(sent.text, days).replace(MARK, marked(number)).encode()) for sent in self.sent]

    def shown(self, width: int | None = None) -> str:
        """Its records, a line each of at most `width` characters of text, in the order they were sent, with when they
        were sent and their places on the time of delivery."""
        ordered = sorted(self.sent, key=lambda sent: sent.at)
        return "\n".join(
            f"{iso(sent.at)} {'+'.join(f'{place:.2f}' for place in sent.rounds)} {sent.stream} {sent.text[:width]}"
            for sent in ordered
        )


def moved(text: str, days: int) -> str:
    """A record so many days earlier."""
    text = A_DATE.sub(lambda found: iso(milliseconds(f"{found[0]}00:00:00.000Z") - days * DAY)[: len(found[0])], text)
    return AN_EPOCH_TIME.sub(lambda found: found[1] + str(int(found[2]) - days * DAY), text)


def marked(number: int) -> str:
    """What stands for `MARK` in history `number`."""
    return f"{number:08d}"


def identifier(name: str) -> str:
    """An id of this history."""
    return f"{name}-{MARK}"


APP = identifier("app")


class Story:
    """A history being made: `chance` decides, `tell` sends."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.sent: list[Sent] = []
        self.now = FIRST_INSTANT
        self.uuids = 0
        self.ids = 0
        self.users = [identifier(f"user{number}") for number in range(1, 1 + self.upto(3))]
        self.anonymous_ids = [identifier(f"visitor{number}") for number in range(1, 1 + self.upto(3))]
        self.session_ids = [identifier(f"session{number}") for number in range(1, 1 + self.upto(3))]
        self.request_ids: list[str] = []
        self.message_ids: list[str] = []
        self.events: list[tuple[Record, int]] = []
        self.app_named_by = self.pick(("record", "record", "record", "record", "record", "metadata", "nobody"))
        self.delivery = self.pick(("by day", "by day", "backwards", "scattered"))
        self.browsers: list[Browser] = []

    def pick(self, options: Sequence[Option]) -> Option:
        """One of the options."""
        return self.chance.choice(options)

    def upto(self, highest: int) -> int:
        """A count from 1."""
        return self.chance.randint(1, highest)

    def one_in(self, times: int) -> bool:
        """True once in so many times."""
        return self.chance.randrange(times) == 0

    def maybe(self, options: Sequence[Option]) -> Option | None:
        """One of the options, or none."""
        return self.pick(options) if self.one_in(2) else None

    def new_uuid(self) -> str:
        """A UUID no other record of any history has."""
        self.uuids += 1
        return f"{MARK}-0000-4000-8000-{self.uuids:012d}"

    def new_id(self, kind: str) -> str:
        """An id no other record of the history has."""
        self.ids += 1
        return identifier(f"{kind}{self.ids}")

    def wait(self) -> int:
        """Let some time pass; returns what time it is then."""
        self.now += self.pick(WAITS)
        return self.now

    def begin_scene(self) -> None:
        """A little later, or on any day, at its start, at its end, or in the middle."""
        if self.one_in(3):
            self.wait()
        else:
            day = self.chance.randrange(DAYS)
            within = self.pick((0, 9 * HOUR, 9 * HOUR, 13 * HOUR, DAY - 20 * MINUTE, DAY - 1))
            self.now = FIRST_INSTANT + day * DAY + within

    def tell(self, stream: str, record: Record, at: int) -> None:
        """Send a record; now and then one that counts for nothing, or one that arrives twice."""
        if self.one_in(60):
            record = record | {"doNotTrack": True}
        rounds = [self._place(at)]
        if self.one_in(9):
            rounds.append(self._place(at))
        text = json.dumps(record, separators=(",", ":"))
        self.sent.append(Sent(stream, text, at, tuple(rounds)))

    def _place(self, at: int) -> float:
        if self.delivery == "scattered":
            return self.chance.random()
        day = (at - FIRST_INSTANT) / DAY + self.pick(LATE_DAYS)
        place = min(max(day / DELIVERY_DAYS, 0), 0.999)
        return 0.999 - place if self.delivery == "backwards" else place

    # What servers and widgets tell.

    def event(self, at: int, *, session: str | None, anonymous: str | None, user: str | None) -> Record:
        """An event's record, in one of the producers' spellings; not sent yet."""
        name = self.pick(EVENT_NAMES)
        record: Record = {"eventName": name, "funnelId": APP, "timestamp": iso(at)}
        if self.one_in(4):
            record = {"event_name": name, "chatbotId": APP, "client_timestamp": iso(at)}
        elif self.one_in(6):
            record = {"action": name, "appId": APP, "createdAt": at}
        record |= {
            key: value for key, value in (("sessionId", session), ("anonymousId", anonymous), ("userId", user)) if value
        }
        if not self.one_in(4):
            record["eventId"] = self.new_id("event")
        if "page" in name or self.one_in(4):
            record["page_url"] = "https://shop.example" + self.pick(PAGES)
        if name == "message_received":
            record["properties"] = {"response_time_ms": self.pick((100, 2000))}
        if name == "widget_opened":
            record["properties"] = {"trigger": self.pick(("button", "timer"))}
        if self.one_in(5):
            record["utm_source"] = self.pick(("google", "newsletter"))
        if self.one_in(5):
            record["referrer"] = self.pick(("https://www.example.org/a", "https://news.example.com/"))
        if self.one_in(6):
            record["user_agent"] = AGENT
        if self.one_in(6):
            record |= {"isConversion": self.one_in(2), "revenue": self.pick((10, 12.5)), "currency": "USD"}
        if self.one_in(8):
            record["event_category"] = self.pick(("error", "performance"))
        if self.one_in(8):
            record |= {"workspaceId": identifier(self.pick(("ws1", "ws2"))), "plan": self.pick(("pro", "free"))}
        return record

    def tell_event(self, at: int, **ids: str | None) -> None:
        """Send an event; now and then the same id once more with something else in it."""
        record = self.event(at, **ids)
        self.events.append((record, at))
        self.tell("events", record, at)
        if "eventId" in record and self.one_in(8):
            other = self.wait() if self.one_in(2) else at
            again = record | {self.pick(("timestamp", "client_timestamp")): iso(other), "page_title": "Again"}
            self.tell("events", again, other)

    def tell_counters(self, at: int, session: str, anonymous: str | None) -> None:
        """A widget session's row, or an increment of what it counts."""
        record: Record = {"chatbotId": APP, "sessionId": session, "timestamp": iso(at)}
        if anonymous:
            record["anonymousId"] = anonymous
        counter = self.pick(("messages_sent", "messages_received", "widget_opened_count"))
        if self.one_in(2):
            record |= {"event_name": "session_increment", "properties": {"counter": counter, "increment": self.upto(2)}}
        else:
            record |= {"event_name": "session_upsert", counter: self.upto(6), "landing_page": self.pick(PAGES)}
            if self.one_in(3):
                record["completed_pre_chat_form"] = True
        self.tell("events", record, at)

    def tell_body(self, at: int, session: str | None, anonymous: str | None) -> None:
        """One POST body with several events."""
        events = []
        for _ in range(self.upto(3)):
            events.append({"event_name": self.pick(EVENT_NAMES), "client_timestamp": iso(at), "properties": {}})
            at = self.wait()
        body: Record = {"chatbotId": APP, "sessionId": session, "anonymous_id": anonymous, "events": events}
        self.tell("events", body, at)

    def tell_request(self, at: int, model: str, tokens: int | None, **ids: str | None) -> None:
        """An LLM request as a server tells it."""
        record: Record = {"appId": APP, "modelId": model, "timestamp": iso(at), "responseTime": self.pick((200, 900))}
        record |= {"sessionId": ids.get("session"), "anonymousId": ids.get("anonymous"), "userId": ids.get("user")}
        if self.request_ids and self.one_in(8):
            record["requestId"] = self.pick(self.request_ids)
        elif not self.one_in(4):
            record["requestId"] = self.new_id("request")
            self.request_ids.append(record["requestId"])
        if self.one_in(3):
            record["messageId"] = self.new_id("message")
            self.message_ids.append(record["messageId"])
        if tokens is not None:
            record["totalTokens"] = tokens
        if not self.one_in(4):
            record["cost"] = self.pick((0.25, 0.0125))
        if self.one_in(6):
            record["rating"] = self.pick((1, -1))
        self.tell("llm_requests", {key: value for key, value in record.items() if value is not None}, at)

    def tell_feedback(self, at: int) -> None:
        """A rating of a request or a message, known or never heard of, in a group of its own or in a session."""
        record: Record = {"appId": APP, "type": "feedback", "rating": self.pick((1, -1, 5)), "timestamp": iso(at)}
        if self.one_in(3):
            record["messageId"] = self.pick([*self.message_ids, identifier("message1")])
        else:
            record["requestId"] = self.pick([*self.request_ids, identifier("request1")])
        if self.one_in(4):
            record |= self.pick(({"sessionId": self.pick(self.session_ids)}, {"userId": self.pick(self.users)}))
        self.tell("llm_requests", record, at)

    def tell_identify(self, at: int) -> None:
        """Who an anonymous id, a session or a browser's anonymous session is."""
        sessions = [*self.session_ids, *(browser.tab.session_id for browser in self.browsers if browser.tabs)]
        record: Record = {"appId": APP, "userId": self.pick(self.users), "timestamp": iso(at)}
        if self.one_in(4):
            record["sessionId"] = self.pick(sessions)
        if not self.one_in(5):
            record["anonymousId"] = self.pick(self.anonymous_ids)
        self.tell("identifies", record, at)

    # Scenes.

    def play(self) -> History:
        """A history of a few scenes; a third of them of events and identify calls alone."""
        scenes = [self.events_scene, self.events_scene, self.identify_scene]
        if not self.one_in(3):
            scenes += [*[self.browser_scene] * 6, self.llm_scene, self.llm_scene, self.widget_scene, self.widget_scene]
        for _ in range(self.upto(7)):
            self.begin_scene()
            self.pick(scenes)()
        if self.one_in(7):
            self.begin_scene()
            self.run_scene()
        return History(tuple(self.sent))

    def events_scene(self) -> None:
        """Events of a session, of an anonymous visitor, of a user or of nobody; signing in on the way."""
        session = self.maybe(self.session_ids)
        anonymous = self.maybe(self.anonymous_ids)
        user = self.pick(self.users) if self.one_in(4) else None
        for _ in range(self.upto(6)):
            self.tell_event(self.now, session=session, anonymous=anonymous, user=user)
            self.wait()
            if self.one_in(6):
                user = self.maybe(self.users)

    def run_scene(self) -> None:
        """Activity without a gap for a day and more: cut where the cap says."""
        steps, count = self.pick(((GAP - 1, 49), (25 * MINUTE, 60), (HOUR - 1, 3), (20 * MINUTE, 73)))
        anonymous = self.pick(self.anonymous_ids)
        for _ in range(count):
            record = {"eventName": "clicked", "funnelId": APP, "anonymousId": anonymous, "timestamp": iso(self.now)}
            self.tell("events", record, self.now)
            self.now += steps

    def identify_scene(self) -> None:
        """One identify call or two: another user of the same computer."""
        for _ in range(self.upto(2)):
            self.tell_identify(self.now)
            self.wait()

    def widget_scene(self) -> None:
        """A chat widget: events one by one or in a body, and what its server counts."""
        session, anonymous = self.pick(self.session_ids), self.maybe(self.anonymous_ids)
        for _ in range(self.upto(6)):
            act = self.pick(("event", "event", "body", "counters", "request", "identify"))
            if act == "event":
                self.tell_event(self.now, session=session, anonymous=anonymous, user=None)
            elif act == "body":
                self.tell_body(self.now, session, anonymous)
            elif act == "counters":
                self.tell_counters(self.now, session, anonymous)
            elif act == "request":
                self.tell_request(self.now, self.pick(MODELS), 100, session=session, anonymous=anonymous)
            else:
                record = {"sessionId": session, "anonymousId": anonymous, "user_id": self.pick(self.users)}
                self.tell("identifies", record | {"timestamp": iso(self.now)}, self.now)
            self.wait()

    def llm_scene(self) -> None:
        """Requests of a user or a program, and ratings, before or after."""
        session, anonymous, user = (self.maybe(ids) for ids in (self.session_ids, self.anonymous_ids, self.users))
        for _ in range(self.upto(4)):
            if self.one_in(3):
                self.tell_feedback(self.now)
            else:
                self.tell_request(self.now, self.pick(MODELS), 100, session=session, anonymous=anonymous, user=user)
            self.wait()

    def browser_scene(self) -> None:
        """Somebody sits at one of at most two browsers."""
        if len(self.browsers) < 2 and (not self.browsers or self.one_in(3)):
            self.browsers.append(Browser(self))
        self.pick(self.browsers).sit()


class Browser:
    """One browser: its tabs, and who is signed in."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.now = FIRST_INSTANT
        self.jwt: tuple[str, str] | None = None
        self.tabs: list[Tab] = []
        self.tab: Tab
        self.drifts = story.one_in(12)

    def sit(self) -> None:
        """Come back, perhaps to a new tab, and do a few things."""
        story = self.story
        # A browser's clock does not go back.
        self.now = max(self.now, story.now)
        if not self.tabs or story.one_in(4):
            self.tab = Tab(self._send, story.new_uuid)
            self.tabs.append(self.tab)
            self._mount()
        acts = (
            *(self.go,) * 8, *(self.reach,) * 3, *(self.click,) * 3, *(self.ask,) * 4, *(self.hide,) * 3,
            *(self.reload,) * 3, self.load_time, self.fail, self.sign_in, self.sign_in, self.sign_out,
            self.sign_in_elsewhere, self.browse_far, self.fail_often, self.ask_often, self.switch, self.event_beside,
            self.event_beside, self.unknown_session_row,
        )  # fmt: skip
        for _ in range(story.upto(14)):
            story.pick(acts)()
            self.now += story.pick(WAITS)
        self.hide()
        story.now = max(story.now, self.now)

    def _metadata(self) -> Record:
        story = self.story
        metadata = {"plan": story.pick(("pro", "free", None)), "workspace_id": identifier(story.pick(("ws1", "ws2")))}
        return metadata | ({"appId": APP} if story.app_named_by == "metadata" else {})

    def _mount(self) -> None:
        self.tab.mount(self.now, self.story.pick(PAGES).partition("?")[0], self._metadata(), self.jwt)

    def _send(self, kind: str, payload: Record, at: int) -> None:
        story = self.story
        session_id = payload["sessionId"]
        if session_id.startswith("anon-") and session_id not in story.anonymous_ids:
            # Other streams may know it from now on.
            story.anonymous_ids.append(session_id)
        if story.one_in(20):
            return  # lost on the way
        if story.app_named_by == "record":
            payload = payload | {"appId": APP}
        if self.drifts:
            payload = self._spoiled(payload)
        story.tell("session_batches", payload, at)

    def _spoiled(self, payload: Record) -> Record:
        story = self.story
        return payload | story.pick(
            (
                {},
                {"pathTimings": payload["pathTimings"][:-1]},
                {"pathTimings": [-timing for timing in payload["pathTimings"]]},
                {"pathSequence": [], "pathTimings": []},
                {"metadata": {}},
                {"endedAt": iso(self.now - 2 * HOUR)},
                {"batchSeq": 7},
                {"goalEvents": {}},
                {"interactionSummary": {"btn": 1}},
                {"startedAt": iso(self.now + 3 * DAY)},
            )
        )

    def go(self) -> None:
        """To another page."""
        self.tab.navigate(self.now, self.story.pick(PAGES))

    def browse_far(self) -> None:
        """Past fifty pages: the batch is rotated."""
        for number in range(52):
            self.tab.navigate(self.now, f"/docs/{number}")
            self.now += 500

    def reach(self) -> None:
        """A goal."""
        self.tab.goal(self.now, self.story.pick(("signup_completed", "workspace_created", "tour_seen")))

    def click(self) -> None:
        """A counter rises, by one or by several."""
        for _ in range(self.story.upto(3)):
            self.tab.interact(self.now, self.story.pick(("btn", "chat_message_sent", "chat_generation_stopped")))
        if self.story.one_in(3):
            self.tab.use_feature(self.now, self.story.pick(("chat", "export")))

    def load_time(self) -> None:
        """A page's or an answer's time, measured or not."""
        name = self.story.pick((self.tab.shown, "chat_response"))
        self.tab.page_load(self.now, name, self.story.pick((0, 1, 2, 350, 1200)))

    def fail(self) -> None:
        """An error on the page."""
        self.tab.error(self.now, self.story.pick(("javascript_error", "network_error")), "x is undefined")

    def fail_often(self) -> None:
        """More errors than the client keeps, some equal."""
        for number in range(24):
            self.tab.error(self.now, "javascript_error", f"number {number // 2}")
        self.tab.flush(self.now)

    def ask(self) -> None:
        """An LLM answer, or one that was stopped; often a server tells of it too."""
        story = self.story
        model, tokens = story.pick((*((model, 100) for model in MODELS), ("unknown", 0)))
        self.tab.llm(self.now, model, tokens, tokens / 4000)
        at = self.now + story.pick((0, 1200, 1200, -500, 60_000, 60_001))
        told_by = story.pick(("nobody", "row", "row", "request", "user's request"))
        told_model = story.pick(MODELS) if model == "unknown" else model
        if told_by == "row":
            self._server_row(at, told_model)
        elif told_by == "request":
            story.tell_request(at, told_model, 100, session=self.tab.session_id, user=self.tab.user_id)
        elif told_by == "user's request" and self.tab.user_id:
            story.tell_request(at, told_model, 100, user=self.tab.user_id)

    def ask_often(self) -> None:
        """More LLM answers than the client keeps."""
        for _ in range(12):
            self.tab.llm(self.now, "gpt-4o", 100, 0.025)
            self.now += self.story.pick((0, SECOND))
        self.tab.flush(self.now)

    def _server_row(self, at: int, model: str) -> None:
        story = self.story
        entry = {"chatId": "chat_1", "model": model, "tokens": 100, "cost": 0.02, "statusCode": story.pick((200, 500))}
        entry |= {"timestamp": iso(at)}
        if story.one_in(3):
            entry["requestId"] = story.new_id("request")
            story.request_ids.append(entry["requestId"])
        if story.one_in(4):
            entry["messageId"] = story.new_id("message")
            story.message_ids.append(entry["messageId"])
        entries = [entry, entry | {"timestamp": iso(at + 20 * SECOND)}] if story.one_in(5) else [entry]
        row = {
            "session_id": self.tab.session_id,
            "batch_id": story.new_uuid(),
            "batch_seq": at,
            "llm_interactions": entries,
            "metadata": {"chat_id": "chat_1", "plan": "server"},
            "updated_at": iso(at + 40),
        }
        if story.app_named_by == "record":
            row["app_id"] = APP
        story.tell("session_batches", row, at)

    def unknown_session_row(self) -> None:
        """A server's row of a session whose browser sent nothing."""
        self._server_row(self.now, "gpt-4o")

    def hide(self) -> None:
        """A beacon of the tab in front."""
        self.tab.hide(self.now)

    def switch(self) -> None:
        """Another tab comes to the front."""
        self.tab.hide(self.now)
        self.tab = self.story.pick(self.tabs)

    def reload(self) -> None:
        """The page is loaded anew: from the last flush, if there was one."""
        if not self.story.one_in(4):
            self.tab.hide(self.now)
        self.now += SECOND
        self._mount()

    def sign_in(self) -> None:
        """Sign in without leaving the page; somebody else may have been signed in."""
        story = self.story
        if story.one_in(2):
            self.tab.hide(self.now)
        self.jwt = (story.new_id("jwt"), story.pick(story.users))
        for tab in self.tabs:
            tab.signed_in(self.now, *self.jwt)
        self.tab.navigate(self.now, "/home")

    def sign_in_elsewhere(self) -> None:
        """Sign in at another site and come back: a new batch."""
        story = self.story
        self.tab.hide(self.now)
        self.jwt = (story.new_id("jwt"), story.pick(story.users))
        self._mount()

    def sign_out(self) -> None:
        """What comes next is of a new anonymous session, in the same batch."""
        self.tab.hide(self.now)
        self.jwt = None
        self.tab.signed_out(self.now)
        self.tab.navigate(self.now, "/goodbye")

    def event_beside(self) -> None:
        """A server or the page itself tells an event of the browser's session, a page view as a rule."""
        story = self.story
        at = self.now + story.pick((0, 0, -10_000, -10_001, 10_000, 10_001))
        if story.one_in(3):
            story.tell_event(at, session=self.tab.session_id, anonymous=None, user=self.tab.user_id)
            return
        record = {"eventName": "page_view", "appId": APP, "sessionId": self.tab.session_id, "timestamp": iso(at)}
        record |= {"page_url": "https://app.example" + self.tab.shown, "eventId": story.new_id("event")}
        story.tell("events", record, at)


def generated(count: int, start: int) -> dict[int, History]:
    """Histories 1 to `count`, each always the same for the same `start`, whatever the count and whatever is loaded."""
    return {number: Story(Random(f"{start}/{number}")).play() for number in range(1, count + 1)}
