"""The simulated browser provider, step by step: each fact of the wire format's session batches."""

import copy
import itertools

import pytest

from ingest.sample.browser import Tab
from ingest.sample.clock import MINUTE, SECOND, iso

START = 1_772_442_000_000  # 2026-03-02T09:00:00Z
JWT = ("11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002")


class Wire:
    """Keeps what a tab sends, as it was when it was sent."""

    def __init__(self):
        self.sent = []
        numbers = itertools.count(1)
        self.tab = Tab(
            lambda kind, payload, at: self.sent.append((kind, copy.deepcopy(payload), at)),
            lambda: f"id-{next(numbers)}",
        )

    def kinds(self):
        return [kind for kind, _, _ in self.sent]

    def last(self):
        return self.sent[-1][1]


@pytest.fixture
def wire():
    return Wire()


def visit_pages(tab, first, count, every=10 * SECOND):
    """Go to `count` pages, one each `every` ms, the first at `first`; returns the time of the last."""
    for number in range(count):
        tab.navigate(first + number * every, f"/page/{first}/{number}")
    return first + (count - 1) * every


def test_the_first_pages_wait_for_the_fifth_and_then_the_whole_batch_is_sent(wire):
    wire.tab.mount(START, "/", {"plan": "pro"}, JWT)
    visit_pages(wire.tab, START + 1000, 3)
    assert wire.sent == []
    wire.tab.navigate(START + 40_000, "/search?q=x")
    ((kind, batch, at),) = wire.sent
    assert (kind, at) == ("flush", START + 40_000)
    assert len(batch["pathSequence"]) == 5
    assert batch["pathTimings"] == [0, 1000, 11_000, 21_000, 40_000]
    assert batch["startedAt"] == "2026-03-02T09:00:00.000Z"
    assert batch["endedAt"] == "2026-03-02T09:00:40.000Z"
    assert (batch["entryPoint"], batch["exitPoint"]) == ("/", "/search?q=x")


def test_the_same_page_again_is_no_entry(wire):
    wire.tab.mount(START, "/", {}, None)
    assert wire.tab.navigate(START + 1, "/pricing")
    assert not wire.tab.navigate(START + 2, "/pricing")
    assert wire.tab.path_sequence == ["/", "/pricing"]


def test_a_goal_is_sent_at_once_and_the_map_keeps_its_last_time(wire):
    wire.tab.mount(START, "/chat", {}, JWT)
    wire.tab.goal(START + 1000, "chat_interaction_completed")
    wire.tab.goal(START + 9000, "chat_interaction_completed")
    assert [batch["goalEvents"] for _, batch, _ in wire.sent] == [
        {"chat_interaction_completed": "2026-03-02T09:00:01.000Z"},
        {"chat_interaction_completed": "2026-03-02T09:00:09.000Z"},
    ]


def test_the_timer_sends_every_five_minutes_but_only_what_is_new(wire):
    wire.tab.mount(START, "/", {}, JWT)
    wire.tab.interact(START + 1000, "btn_primary")
    wire.tab.wait_until(START + 5 * MINUTE - 1)
    assert wire.sent == []
    wire.tab.wait_until(START + 60 * MINUTE)
    assert [(kind, at) for kind, _, at in wire.sent] == [("flush", START + 5 * MINUTE)]


def test_hiding_always_sends_even_when_nothing_is_new_and_without_totals(wire):
    wire.tab.mount(START, "/", {}, JWT)
    wire.tab.hide(START + 1000)
    wire.tab.hide(START + 9000)
    assert wire.kinds() == ["beacon", "beacon"]
    assert wire.sent[0][1] == wire.sent[1][1]
    absent = {"endedAt", "entryPoint", "exitPoint", "llmTokenUsage", "llmCostEstimate", "sessionType"}
    assert not (absent | {"conversionAchieved"}) & set(wire.last())


def test_errors_are_trimmed_to_twenty_only_after_a_flush_told_them_all(wire):
    wire.tab.mount(START, "/", {}, JWT)
    for number in range(25):
        wire.tab.error(START + number, "javascript_error", f"error {number}")
    wire.tab.goal(START + 100, "a")
    wire.tab.error(START + 200, "javascript_error", "error 25")
    wire.tab.goal(START + 300, "b")
    first, second = (batch["errorEvents"] for _, batch, _ in wire.sent)
    assert [error["message"] for error in first] == [f"error {number}" for number in range(25)]
    assert [error["message"] for error in second] == [f"error {number}" for number in range(5, 26)]


def test_llm_interactions_are_trimmed_to_ten_and_carry_four_keys(wire):
    wire.tab.mount(START, "/chat", {}, JWT)
    for number in range(12):
        wire.tab.llm(START + number, "gpt-4o", number, 0.001)
    wire.tab.goal(START + 100, "a")
    wire.tab.goal(START + 200, "b")
    first, second = (batch["llmInteractions"] for _, batch, _ in wire.sent)
    assert [entry["tokens"] for entry in first] == list(range(12))
    assert [entry["tokens"] for entry in second] == list(range(2, 12))
    assert set(second[0]) == {"model", "tokens", "cost", "timestamp"}


def test_after_fifty_pages_a_fresh_batch_repeats_the_last_page_and_carries_counters_and_goals(wire):
    starts = []
    wire.tab._started = starts.append
    wire.tab.mount(START, "/", {}, JWT)
    wire.tab.interact(START + 1, "btn_primary")
    wire.tab.goal(START + 2, "a")
    wire.tab.error(START + 3, "javascript_error", "x")
    wire.tab.page_load(START + 4, "/", 900)
    before = wire.tab.batch_id
    end = visit_pages(wire.tab, START + 1000, 49)
    wire.tab.navigate(end + 1000, "/after")
    wire.tab.hide(end + 2000)
    full, fresh = wire.sent[-2][1], wire.last()
    assert (full["batchId"], full["batchSeq"], len(full["pathSequence"])) == (before, 0, 50)
    assert fresh["batchId"] != before
    assert fresh["batchSeq"] == 1
    assert fresh["pathSequence"] == [full["pathSequence"][-1], "/after"]
    assert fresh["startedAt"] == iso(starts[1])
    assert fresh["pathTimings"] == [0, end + 1000 - starts[1]]
    assert (fresh["errorEvents"], fresh["pageLoadTimes"]) == ([], {})
    assert (fresh["interactionSummary"], fresh["goalEvents"]) == ({"btn_primary": 1}, full["goalEvents"])


def test_a_reload_restores_the_last_flush_and_loses_what_only_a_beacon_told(wire):
    wire.tab.mount(START, "/", {"plan": "pro"}, JWT)
    end = visit_pages(wire.tab, START + 60_000, 4)
    wire.tab.navigate(end + 1000, "/told-by-beacon-only")
    before = wire.tab.batch_id
    wire.tab.hide(end + 2000)
    assert wire.tab.mount(end + 3000, "/told-by-beacon-only", {"plan": "pro"}, JWT)
    assert wire.tab.batch_id != before
    assert wire.tab.batch_seq == 0
    assert len(wire.tab.path_sequence) == 5
    assert "/told-by-beacon-only" not in wire.tab.path_sequence
    assert wire.tab.metadata == {}
    wire.tab.navigate(end + 4000, "/next")
    # The new page counts from the reload, the restored ones from the first start: timings go down.
    assert wire.tab.path_timings[-2:] == [90_000, 1000]


def test_a_reload_with_no_flush_before_it_starts_afresh(wire):
    wire.tab.mount(START, "/", {"plan": "pro"}, JWT)
    wire.tab.navigate(START + 1000, "/pricing")
    wire.tab.hide(START + 2000)
    assert not wire.tab.mount(START + 3000, "/pricing", {"plan": "pro"}, JWT)
    assert (wire.tab.path_sequence, wire.tab.path_timings) == (["/pricing"], [0])
    assert wire.tab.metadata == {"plan": "pro"}


def test_a_reload_is_simulated_only_where_its_meaning_is_certain(wire):
    tab = wire.tab
    tab.mount(START, "/", {}, JWT)
    assert tab.reload_is_definite()  # nothing saved: a fresh batch
    tab.interact(START + 1, "x")
    tab.flush(START + 2)
    assert not tab.reload_is_definite()  # one page and no time to tell whose it is
    tab.goal(START + 3, "a")
    assert tab.reload_is_definite()
    tab.mount(START + 4, "/", {}, JWT)
    assert not tab.reload_is_definite()  # nothing flushed since the last reload
    visit_pages(tab, START + 1000, 49)
    assert tab.batch_seq == 1
    assert not tab.reload_is_definite()  # rotated, not flushed yet


def test_two_tabs_and_a_later_visit_share_a_session_id_and_nothing_else():
    one, two = Wire(), Wire()
    one.tab.mount(START, "/", {}, JWT)
    visit_pages(one.tab, START + 1000, 50)
    two.tab.mount(START + 10, "/", {}, JWT)
    assert one.tab.session_id == two.tab.session_id == JWT[0]
    assert (one.tab.batch_seq, two.tab.batch_seq) == (1, 0)
    assert two.tab.path_sequence == ["/"]


def test_anonymous_tabs_have_ids_of_their_own_kept_over_a_reload(wire):
    wire.tab.mount(START, "/", {}, None)
    anonymous_id = wire.tab.session_id
    assert anonymous_id.startswith("anon-")
    assert wire.tab.user_id is None
    wire.tab.mount(START + 1000, "/", {}, None)
    assert wire.tab.session_id == anonymous_id


def test_signing_in_and_out_changes_the_ids_in_mid_batch(wire):
    wire.tab.mount(START, "/", {}, None)
    wire.tab.navigate(START + 1000, "/login")
    wire.tab.hide(START + 2000)
    wire.tab.signed_in(START + 3000, *JWT)
    wire.tab.goal(START + 4000, "signup_completed")
    wire.tab.signed_out(START + 5000)
    wire.tab.navigate(START + 6000, "/bye")
    wire.tab.hide(START + 7000)
    before, during, after = (batch for _, batch, _ in wire.sent)
    assert before["batchId"] == during["batchId"] == after["batchId"]
    assert before["sessionId"].startswith("anon-")
    assert (during["sessionId"], during["userId"]) == JWT
    assert after["sessionId"].startswith("anon-")
    assert after["sessionId"] != before["sessionId"]
    assert after["userId"] is None
    assert after["pathSequence"] == ["/", "/login", "/bye"]
    assert after["goalEvents"] == during["goalEvents"]


def test_error_keys_have_no_query_and_the_load_map_keeps_the_last_value(wire):
    wire.tab.mount(START, "/", {}, JWT)
    wire.tab.navigate(START + 1000, "/search?q=1")
    wire.tab.error(START + 1500, "javascript_error", "x")
    wire.tab.page_load(START + 1600, "/search", 900)
    wire.tab.page_load(START + 1700, "/search", 400)
    wire.tab.hide(START + 2000)
    assert wire.last()["pathSequence"][-1] == "/search?q=1"
    assert wire.last()["errorEvents"] == [{"type": "javascript_error", "page": "/search", "time": 1500, "message": "x"}]
    assert wire.last()["pageLoadTimes"] == {"/search": 400}
