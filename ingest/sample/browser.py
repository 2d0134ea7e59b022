"""One browser tab with the analytics provider in it: what it keeps, and what it sends when.

A line-by-line port of the web app's React provider, bugs included, because a warehouse must count right
in spite of them. It knows nothing of people or of truth: callers tell it what happens and when.
"""

import json
from collections.abc import Callable
from typing import Any

from ingest.sample.clock import MINUTE, iso

MAX_PATHS_PER_BATCH = 50
PAGES_PER_FLUSH = 5
FLUSH_INTERVAL = 5 * MINUTE
ERRORS_KEPT = 20
LLM_KEPT = 10
UPLOAD_TIME = 120
"""Milliseconds the server action takes; a rotated batch starts when its flush has returned."""

Payload = dict[str, Any]
Send = Callable[[str, Payload, int], None]


def _sequence_key(session_id: str) -> str:
    return f"analytics_batch_seq:{session_id}"


def _state_key(session_id: str, batch_seq: int) -> str:
    return f"analytics_batch_state:{session_id}:{batch_seq}"


class Tab:
    """One tab: its `sessionStorage`, the batch it collects, and its timers.

    `send(kind, payload, at)` gets every message, kind `flush` or `beacon`; the payload shares the tab's own
    lists, so it must be serialised before returning. `started(at)` is told each batch start: mount, reload,
    rotation. Times (`at`) are milliseconds since 1970 and must not go back.
    """

    def __init__(self, send: Send, new_id: Callable[[], str], started: Callable[[int], None] | None = None):
        self.storage: dict[str, str] = {}
        self._send = send
        self._new_id = new_id
        self._started = started or (lambda at: None)
        self.shown = ""
        self._next_tick = 0

    @property
    def last_path(self) -> str:
        """The last entry of the path, against which the provider compares the next page."""
        return self.path_sequence[-1]

    def mount(self, at: int, pathname: str, metadata: dict[str, Any], jwt: tuple[str, str] | None) -> bool:
        """Load the page; `jwt` is the signed-in (session id, user id). True if a batch was restored."""
        anonymous = self.storage.get("anon_session_id")
        self.session_id = jwt[0] if jwt else anonymous or f"anon-{self._new_id()}"
        self.user_id = jwt[1] if jwt else None
        if not jwt and not anonymous:
            self.storage["anon_session_id"] = self.session_id
        stored_sequence = self.storage.get(_sequence_key(self.session_id))
        self.batch_seq = int(stored_sequence or 0)
        stored = self.storage.get(_state_key(self.session_id, self.batch_seq))
        state = json.loads(stored) if stored else {}
        self.batch_id = self._new_id()
        # The stored state has no metadata, so a restored batch loses it.
        self.metadata = {} if state else dict(metadata)
        self.started_at = at
        self.path_sequence: list[str] = state.get("pathSequence") or [pathname]
        self.path_timings: list[int] = state.get("pathTimings") or [0]
        self.interaction_summary: dict[str, int] = state.get("interactionSummary") or {}
        self.goal_events: dict[str, str] = state.get("goalEvents") or {}
        self.feature_interactions: dict[str, int] = state.get("featureInteractions") or {}
        self.page_load_times: dict[str, int] = state.get("pageLoadTimes") or {}
        self.error_events: list[Payload] = state.get("errorEvents") or []
        self.llm_interactions: list[Payload] = state.get("llmInteractions") or []
        self.storage.setdefault(_sequence_key(self.session_id), str(self.batch_seq))
        self.shown = pathname
        self.dirty = False
        self.restored = bool(state)
        self.flushes = 0
        self._next_tick = at + FLUSH_INTERVAL
        self._started(at)
        return self.restored

    def reload_is_definite(self) -> bool:
        """Whether the wire facts say what a reload now would mean.

        They do not when all that is restored is one page without a goal or LLM time, nor when a rotated
        batch was not flushed yet, nor when the tab reloads twice from one flush.
        """
        stored = self.storage.get(_state_key(self.session_id, self.batch_seq))
        if stored is None:
            return self.batch_seq == 0
        if self.restored and not self.flushes:
            return False
        state = json.loads(stored)
        timed = state["goalEvents"] or state["llmInteractions"]
        return len(state["pathSequence"]) > 1 or (bool(timed) and self.batch_seq == 0)

    def wait_until(self, at: int) -> None:
        """Let time pass: the five-minute timer fires, and flushes if anything changed."""
        while self._next_tick <= at:
            self.flush(self._next_tick)
            self._next_tick += FLUSH_INTERVAL

    def navigate(self, at: int, path: str) -> bool:
        """Show another page (path with query). True if it became a path entry."""
        self.wait_until(at)
        self.shown = path.partition("?")[0]
        if self.last_path == path:
            return False
        self.path_sequence.append(path)
        self.path_timings.append(at - self.started_at)
        self.dirty = True
        if len(self.path_sequence) % PAGES_PER_FLUSH == 0:
            self.flush(at)
        return True

    def goal(self, at: int, name: str) -> None:
        """Reach a goal: remembered by its last time, flushed at once."""
        self.wait_until(at)
        self.goal_events[name] = iso(at)
        self.dirty = True
        self.flush(at)

    def interact(self, at: int, element: str) -> None:
        """Count a click or the like; it has no time of its own."""
        self.wait_until(at)
        self.interaction_summary[element] = self.interaction_summary.get(element, 0) + 1
        self.dirty = True

    def use_feature(self, at: int, feature: str) -> None:
        """Count one use of a feature."""
        self.wait_until(at)
        self.feature_interactions[feature] = self.feature_interactions.get(feature, 0) + 1
        self.dirty = True

    def page_load(self, at: int, page: str, milliseconds: int) -> None:
        """Remember a load time; the map keeps the last one of each page or named timing."""
        self.wait_until(at)
        self.page_load_times[page] = milliseconds
        self.dirty = True

    def error(self, at: int, kind: str, message: str) -> None:
        """Record an error on the page shown, timed from the batch's start."""
        self.wait_until(at)
        self.error_events.append({"type": kind, "page": self.shown, "time": at - self.started_at, "message": message})
        self.dirty = True

    def llm(self, at: int, model: str, tokens: int, cost: float) -> None:
        """Record an LLM answer; the browser keeps only model, total tokens, cost and time."""
        self.wait_until(at)
        self.llm_interactions.append({"model": model, "tokens": tokens, "cost": cost, "timestamp": iso(at)})
        self.dirty = True

    def hide(self, at: int) -> None:
        """Hide or unload the page: a beacon with the batch so far, which marks and saves nothing."""
        self.wait_until(at)
        self._send(
            "beacon",
            {
                "sessionId": self.session_id,
                "batchId": self.batch_id,
                "batchSeq": self.batch_seq,
                "userId": self.user_id,
                "metadata": self.metadata,
                "startedAt": iso(self.started_at),
                **self._state(),
            },
            at,
        )

    def signed_in(self, at: int, session_id: str, user_id: str) -> None:
        """The auth client reports a sign-in: other ids, the same batch."""
        self.wait_until(at)
        self.session_id, self.user_id = session_id, user_id
        self.storage.pop("anon_session_id", None)
        self.batch_seq = int(self.storage.setdefault(_sequence_key(session_id), "0"))

    def signed_out(self, at: int) -> None:
        """The auth client reports a sign-out: a new anonymous id, the same batch."""
        self.wait_until(at)
        self.session_id, self.user_id = f"anon-{self._new_id()}", None
        self.storage["anon_session_id"] = self.session_id
        self.batch_seq = 0
        self.storage[_sequence_key(self.session_id)] = "0"

    def flush(self, at: int) -> None:
        """Send the whole batch so far if it changed; save it; trim it; rotate it when it is full."""
        if not self.dirty:
            return
        state = self._state()
        saved = json.dumps(state)
        self.storage[_state_key(self.session_id, self.batch_seq)] = saved
        self._send(
            "flush",
            {
                "sessionId": self.session_id,
                "batchId": self.batch_id,
                "batchSeq": self.batch_seq,
                "userId": self.user_id,
                "metadata": self.metadata,
                "startedAt": iso(self.started_at),
                "endedAt": iso(at),
                "pathSequence": self.path_sequence,
                "pathTimings": self.path_timings,
                "entryPoint": self.path_sequence[0],
                "exitPoint": self.last_path,
                "interactionSummary": self.interaction_summary,
                "goalEvents": self.goal_events,
                "featureInteractions": self.feature_interactions,
                "pageLoadTimes": self.page_load_times,
                "errorEvents": self.error_events,
                "llmInteractions": self.llm_interactions,
                "llmTokenUsage": sum(entry["tokens"] for entry in self.llm_interactions),
                "llmCostEstimate": round(sum(entry["cost"] for entry in self.llm_interactions), 6),
                "sessionType": self._session_type(),
                "conversionAchieved": bool(self.goal_events),
            },
            at,
        )
        self.flushes += 1
        self.error_events = self.error_events[-ERRORS_KEPT:]
        self.llm_interactions = self.llm_interactions[-LLM_KEPT:]
        if len(self.path_sequence) >= MAX_PATHS_PER_BATCH:
            self._rotate(at + UPLOAD_TIME)
        self.dirty = False

    def _rotate(self, at: int) -> None:
        self.batch_seq += 1
        self.storage[_sequence_key(self.session_id)] = str(self.batch_seq)
        self.batch_id = self._new_id()
        self.started_at = at
        self.path_sequence = [self.last_path]
        self.path_timings = [0]
        self.page_load_times = {}
        self.error_events = []
        self.llm_interactions = []
        self.flushes = 0
        self._started(at)

    def _state(self) -> Payload:
        return {
            "pathSequence": self.path_sequence,
            "pathTimings": self.path_timings,
            "interactionSummary": self.interaction_summary,
            "goalEvents": self.goal_events,
            "featureInteractions": self.feature_interactions,
            "pageLoadTimes": self.page_load_times,
            "errorEvents": self.error_events,
            "llmInteractions": self.llm_interactions,
        }

    def _session_type(self) -> str:
        if self.goal_events:
            return "conversion"
        if len(self.path_sequence) == 1 and sum(self.interaction_summary.values()) < 2:
            return "bounce"
        return "exploration" if len(self.path_sequence) > 5 else "standard"
