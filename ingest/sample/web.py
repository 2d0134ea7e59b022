"""Somebody sits at the web app: what they do, what their tabs make of it, and what really happened."""

from collections.abc import Sequence
from decimal import Decimal

from ingest.sample.browser import ERRORS_KEPT, LLM_KEPT, Payload, Tab
from ingest.sample.clock import AS_OF_MS, DAY, HOUR, MINUTE, SECOND, iso, milliseconds, postgres
from ingest.sample.context import Sample
from ingest.sample.incidents import ENGAGEMENT_DROP
from ingest.sample.tracking import (
    feedback,
    number,
    request_record,
    snake_keys,
    track,
)
from ingest.sample.truth import group_of
from ingest.sample.world import (
    DEFAULT_APP,
    INTERACTIONS,
    Model,
    Person,
    between,
    new_id,
    pick,
    pick_model,
)

STRAGGLING = 0.03
LONGEST_DELAY = 60 * HOUR
LAST_ACTION = AS_OF_MS - 2 * MINUTE
SERVER_TELLS = (0.35, 0.60)
"""Up to the first share of answers are told again by an option B row, up to the second by a request record."""


class CutShortError(Exception):
    """A sitting must close: the sample ends, or the site cannot be reached any more."""

    def __init__(self, sitting: "WebVisit"):
        super().__init__()
        self.sitting = sitting


class WebVisit:
    """One sitting: a person, the tabs they have open, the clock, and how late its messages arrive.

    Everything done here is done to the tab, which sends what it sends, and told to the truth.
    """

    def __init__(self, sample: Sample, person: Person, at: int, signed_in: bool):
        self.sample = sample
        self.person = person
        self.now = at
        self.jwt = (person.jwt, person.user_id) if signed_in and person.jwt and person.user_id else None
        self.tabs: list[Tab] = []
        self.tab: Tab
        self._sent = 0
        self._delay = 0
        self._late_from = 0
        if sample.chance(STRAGGLING):
            self._delay = int(3 * HOUR + (LONGEST_DELAY - 3 * HOUR) * sample.rng.random())
            # Half of the stragglers arrive in part on time: snapshots of one session in different files.
            self._late_from = 2 if sample.chance(0.5) else 0
            sample.truth.trap("straggling_session")

    @property
    def group(self) -> str:
        """The session group what happens now is in."""
        return group_of(self.tab.session_id, None, None)

    @property
    def who(self) -> str:
        """Whom the tab takes the person for."""
        return f"u:{self.tab.user_id}" if self.tab.user_id else f"a:{self.tab.session_id}"

    def wait(self, low_seconds: float, high_seconds: float) -> None:
        """Let time pass. Raises `CutShortError` when the sample or the site's reach would end meanwhile."""
        later = self.now + 1 + self.sample.milliseconds(low_seconds, high_seconds)
        if later >= LAST_ACTION or ENGAGEMENT_DROP.start <= later < ENGAGEMENT_DROP.end:
            raise CutShortError(self)
        self.now = later

    def open(self, pathname: str) -> None:
        """Open a new tab on a page."""
        if self.tabs:
            self.tab.hide(self.now)
        self.tab = Tab(self._send, lambda: new_id(self.sample.rng), self._batch_started)
        self.tabs.append(self.tab)
        self.tab.mount(self.now, pathname, self.person.metadata(signed_in=self.jwt is not None), self.jwt)
        self._page_viewed()

    def switch(self, number: int) -> None:
        """Bring another tab to the front; the one before is hidden."""
        self.tab.hide(self.now)
        self.tab = self.tabs[number]

    def go(self, path: str) -> None:
        """Go to another page."""
        if self.tab.navigate(self.now, path):
            self._page_viewed()

    def browse(self, pages: Sequence[str], count: int, low: float = 5, high: float = 110) -> None:
        """Look at `count` more pages, clicking here and there, meeting an error now and then."""
        rng = self.sample.rng
        for _ in range(count):
            self.wait(low, high)
            page = pick(rng, pages)
            while page in (self.tab.last_path, self.tab.shown):
                page = pick(rng, pages)
            if self.sample.chance(0.08):
                page += f"?utm_source=google&utm_medium=cpc&utm_campaign=spring&v={int(rng.random() * 90)}"
            self.go(page)
            self.now += 260
            if self.sample.chance(0.5):
                self.load_time()
            for _ in range(between(rng, 0, 3)):
                self.now += 700
                self.click(pick(rng, INTERACTIONS))
            if self.sample.chance(0.03):
                self.fail()

    def click(self, element: str) -> None:
        """Use an element of the page."""
        self.tab.interact(self.now, element)
        self.sample.truth.interactions[element] += 1

    def load_time(self) -> None:
        """The page measures its load; sometimes it was not measured and says 0 or 1."""
        milliseconds = 250 + between(self.sample.rng, 0, 4000)
        if self.sample.chance(0.04):
            milliseconds = int(self.sample.rng.random() * 2)
            self.sample.truth.trap("unmeasured_load_time")
        self.tab.page_load(self.now, self.tab.shown, milliseconds)

    def fail(self, kind: str = "javascript_error") -> None:
        """An error on the page."""
        message = pick(self.sample.rng, ("x is undefined", "Network request failed", "Zeitüberschreitung"))
        if self.sample.chance(0.04):
            message += "\x00"
            self.sample.truth.trap("nul_character")
        elif self.sample.chance(0.04):
            message += "\ud83d"
            self.sample.truth.trap("lone_surrogate")
        self.tab.error(self.now, kind, message)
        self.sample.truth.count(DEFAULT_APP, self.now, "errors")
        self.sample.truth.activity(DEFAULT_APP, self.group, self.now, self.who)

    def reach(self, goal: str) -> None:
        """Reach a goal."""
        self.tab.goal(self.now, goal)
        self.sample.truth.goal(DEFAULT_APP, self.group, self.now, self.who)

    def chat(self, messages: int, stops: float = 0.07) -> None:
        """Talk to the assistant; each answer is an LLM request and reaches the chat goal."""
        sample = self.sample
        chat_id = f"chat_{sample.rng.getrandbits(40):010x}"
        self.wait(3, 20)
        self.go(f"/chat/{chat_id}")
        for message in range(messages):
            # Answers lie so far apart that which server row tells which of them is never in doubt.
            self.now += 21 * SECOND
            self.wait(4, 70)
            if message and sample.chance(0.08):
                self.click("chat_message_regenerated")
                self.tab.use_feature(self.now, "chat_regenerate")
            else:
                self.click("chat_message_sent")
                self.tab.use_feature(self.now, "chat")
            model = pick_model(sample.rng)
            prompt = 250 + between(sample.rng, 0, 5200)
            completion = 60 + between(sample.rng, 0, 1100)
            response = 300 + completion * 9 + between(sample.rng, 0, 1500)
            self.now += response
            if sample.chance(stops):
                self._stopped(chat_id, model, prompt, completion // 2)
            elif sample.chance(0.02):
                self.fail("chat_error")
            else:
                self.tab.page_load(self.now, "chat_response", response)
                self._answered(chat_id, model, prompt, completion)
                self.reach("chat_interaction_completed")

    def reload(self) -> None:
        """Reload the page, if the wire facts say what that means."""
        if not self.tab.reload_is_definite():
            return
        self.tab.hide(self.now)
        self.now += 1 + self.sample.milliseconds(0.8, 4)
        page, last_path = self.tab.shown, self.tab.path_sequence[-1]
        if self.tab.mount(self.now, page, self.person.metadata(signed_in=self.jwt is not None), self.jwt):
            self.sample.truth.trap("reload_restored")
            self.sample.truth.trap("metadata_lost")
            if self.tab.last_path != last_path:
                self.sample.truth.trap("reload_loses_pages")
            if len(self.tab.path_sequence) == 1:
                self.sample.truth.trap("reload_of_one_page_with_goal")
        else:
            self.sample.truth.trap("reload_with_nothing_restored")
            self._page_viewed()

    def sign_in(self, seen: bool = True) -> None:
        """Sign in, or up, without leaving the page: all tabs change ids in mid-batch.

        The person fetches a link from their mail first, so the page is hidden once and its beacon tells
        the batch under the anonymous id; with `seen` false they do not, and that id is never heard of.
        """
        person, sample = self.person, self.sample
        new = person.user_id is None
        if seen:
            self.tab.hide(self.now)
            self.wait(15, 60)
        person.user_id = person.user_id or new_id(sample.rng)
        person.jwt = new_id(sample.rng)
        self.jwt = (person.jwt, person.user_id)
        for tab in self.tabs:
            anonymous_id = tab.session_id
            tab.signed_in(self.now, *self.jwt)
            sample.truth.merge(group_of(anonymous_id, None, None), group_of(person.jwt, None, None))
            if seen:
                sample.truth.signed_in(anonymous_id, person.user_id, self.now)
        sample.truth.trap("sign_in_mid_batch" if seen else "sign_in_before_anything_was_sent")
        self._tell_sign_in(new)
        self.wait(1, 5)
        self.go("/onboarding" if new else "/home")
        if new:
            self.wait(1, 4)
            self.reach("signup_completed")

    def sign_in_by_redirect(self) -> None:
        """Sign in at another site: the page is left and loaded anew, so nothing ties the two ids."""
        person = self.person
        self.tab.hide(self.now)
        self.wait(15, 60)
        person.user_id = person.user_id or new_id(self.sample.rng)
        person.jwt = new_id(self.sample.rng)
        self.jwt = (person.jwt, person.user_id)
        self.tab.mount(self.now, "/dashboard", person.metadata(signed_in=True), self.jwt)
        self._page_viewed()
        self.sample.truth.trap("sign_in_by_redirect")
        self._tell_sign_in(new=False)

    def sign_out(self) -> None:
        """Sign out: what comes next belongs to a new anonymous session, though to the same batch."""
        self.tab.hide(self.now)
        self.now += 200
        self.tab.signed_out(self.now)
        self.person.jwt = self.jwt = None
        self.sample.truth.trap("sign_out_mid_batch")
        self.now += 300
        self.go("/goodbye")

    def idle(self, milliseconds: int) -> None:
        """Do nothing that has a time: some clicks, then the tab is hidden and shown while its timer runs."""
        end = self.now + milliseconds
        self.now += 2 * SECOND
        self.click("menu_more")
        for share in (0.3, 0.6):
            moment = self.now + int((end - self.now) * share)
            self.tab.hide(moment)
            self.now = moment
        self.sample.truth.trap("idle_flush_and_beacons")
        self.now = end

    def close(self) -> None:
        """Close every tab."""
        self.now += 2 * SECOND
        for tab in self.tabs:
            tab.hide(self.now)
        if self.sample.chance(0.05):
            # Browsers fire both events when a page goes away.
            self.tab.hide(self.now + 3)
        self.person.busy_until = self.now + MINUTE

    def track(self, action: str, category: str, metadata: Payload, in_session: bool) -> None:
        """A server-side helper tells something of the signed-in person, or of the session."""
        session_id = self.tab.session_id if in_session else None
        if session_id or self.tab.user_id:
            track(self.sample, self.now, action, category, metadata, self.tab.user_id, session_id)

    def _batch_started(self, at: int) -> None:
        self.sample.truth.activity(DEFAULT_APP, self.group, at, self.who)
        if self.tab.batch_seq and not self.tab.flushes and len(self.tab.path_sequence) == 1:
            self.sample.truth.trap("rotation")

    def _page_viewed(self) -> None:
        self.sample.truth.page_view(DEFAULT_APP, self.group, self.now, self.who)

    def _answered(self, chat_id: str, model: Model, prompt: int, completion: int) -> None:
        tokens = prompt + completion
        cost = model.cost(prompt, completion)
        # The browser only knows the total, so its cost is a guess.
        guess = model.cost(tokens * 4 // 5, tokens - tokens * 4 // 5)
        if cost is None or guess is None:
            raise AssertionError(f"{model.model} has no price")
        guess = round(guess, 6)
        self.tab.llm(self.now, model.model, tokens, number(guess))
        told = self.sample.rng.random()
        if told < SERVER_TELLS[1] and 30 * SECOND < self.now % DAY < DAY - 30 * SECOND:
            at = self.now + 200 + int(self.sample.rng.random() * 2200)
            if told < SERVER_TELLS[0]:
                self._option_b(at, chat_id, model, tokens, cost, "stop")
            else:
                self._request_told(at, chat_id, model, prompt, completion, cost)
        else:
            cost = guess
        self.sample.truth.llm(DEFAULT_APP, self.group, self.now, self.who, tokens, cost)

    def _stopped(self, chat_id: str, model: Model, prompt: int, completion: int) -> None:
        self.click("chat_generation_stopped")
        self.tab.llm(self.now, "unknown", 0, 0)
        self.sample.truth.trap("stopped_generation")
        tokens, cost = 0, Decimal()
        if self.sample.chance(0.35) and 30 * SECOND < self.now % DAY < DAY - 30 * SECOND:
            tokens, cost = prompt + completion, model.cost(prompt, completion) or Decimal()
            self._option_b(self.now + 600, chat_id, model, tokens, cost, "abort")
            self.sample.truth.trap("stopped_generation_told_by_server")
        self.sample.truth.llm(DEFAULT_APP, self.group, self.now, self.who, tokens, cost)

    def _option_b(self, at: int, chat_id: str, model: Model, tokens: int, cost: Decimal, finish_reason: str) -> None:
        entry = {
            "chatId": chat_id,
            "model": model.model,
            "tokens": tokens,
            "cost": number(cost),
            "finishReason": finish_reason,
            "statusCode": 200,
            "timestamp": iso(at),
        }
        row = {
            "session_id": self.tab.session_id,
            "batch_id": new_id(self.sample.rng),
            "batch_seq": at,
            "llm_interactions": [entry],
            "metadata": {"chat_id": chat_id},
            "updated_at": iso(at + 40),
        }
        self.sample.delivery.send("session_batches", row, at, self._delay)
        self.sample.truth.trap("request_told_by_browser_and_option_b")

    def _request_told(self, at: int, chat_id: str, model: Model, prompt: int, completion: int, cost: Decimal) -> None:
        record = request_record(self.sample, at, model, prompt, completion, cost)
        record |= {"sessionId": self.tab.session_id, "chatId": chat_id, "featureId": "chat"}
        if self.tab.user_id:
            record |= {
                "userId": self.tab.user_id,
                "teamId": self.person.team,
                "projectId": self.person.project,
                "workspaceId": self.person.workspace.workspace_id,
            }
        other_style = snake_keys(record)
        self.sample.delivery.send("llm_requests", record, at, self._delay, other_style=other_style)
        self.sample.truth.trap("request_told_by_browser_and_request_record")
        if self.sample.chance(0.25):
            feedback(self.sample, at + 5 * SECOND, record["requestId"], self._delay)

    def _tell_sign_in(self, new: bool) -> None:
        sample, person = self.sample, self.person
        in_session = sample.chance(0.4)
        if new:
            self.track("signup_step", "marketing", {"step": "account_created", "stepNumber": 3}, in_session)
            self.track("onboarding_step_started", "onboarding", {"step": "profile_setup", "stepNumber": 1}, True)
            return
        self.now += 40
        self.track("sign_in_succeeded", "security", {"method": "magic_link"}, in_session)
        if person.index % 3 == 0:
            self.now += 8 * SECOND
            outcome = "failed" if sample.chance(0.06) else "succeeded"
            metadata = {"reason": "bad_code"} if outcome == "failed" else {"method": "totp"}
            self.track(f"mfa_verification_{outcome}", "security", metadata, in_session)

    def _send(self, kind: str, payload: Payload, at: int) -> None:
        """Hand a message over, as the browser sent it or as its row was exported."""
        sample, bad_elements = self.sample, 0
        other_style = None
        shape = sample.rng.random()
        if kind == "flush" and len(payload["errorEvents"]) > ERRORS_KEPT:
            sample.truth.trap("over_20_errors")
        if kind == "flush" and len(payload["llmInteractions"]) > LLM_KEPT:
            sample.truth.trap("over_10_llm_interactions")
        if kind == "beacon":
            sample.truth.trap("beacon")
        elif shape < 0.06:
            payload = self._as_row(payload, at)
            sample.truth.trap("exported_row")
        elif shape < 0.08:
            payload = {**payload, "startedAt": milliseconds(payload["startedAt"]), "endedAt": at}
            sample.truth.trap("epoch_milliseconds")
        elif shape < 0.084:
            payload = {**payload, "errorEvents": [*payload["errorEvents"], "[object Object]"]}
            bad_elements = 1
        else:
            other_style = snake_keys(payload)
        delay = self._delay if self._sent >= self._late_from else 0
        self._sent += 1
        sample.delivery.send("session_batches", payload, at, delay, bad_elements, other_style)
        sample.truth.trap("snapshot")

    def _as_row(self, payload: Payload, at: int) -> Payload:
        row = snake_keys(payload)
        for key in ("started_at", "ended_at"):
            row[key] = row[key].replace("T", " ").replace("Z", "+00")
        return {
            "id": new_id(self.sample.rng),
            **row,
            "created_at": postgres(at + 90),
            "updated_at": postgres(at + 90),
        }
