"""Counts what the files of a sample say by the rules of the wire formats, sharing no code with its maker.

Slow and in memory: a second opinion on `truth.json`, so that each can be wrong without the other.
"""

import gzip
import hashlib
import itertools
import json
import uuid
from collections import Counter, defaultdict
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

GAP = 30 * 60_000
DAY = 24 * 3_600_000
BATCH_KEYS = {
    "sessionId": "session_id",
    "batchId": "batch_id",
    "batchSeq": "batch_seq",
    "userId": "user_id",
    "startedAt": "started_at",
    "endedAt": "ended_at",
    "pathSequence": "path",
    "path_sequence": "path",
    "pathTimings": "timings",
    "path_timings": "timings",
    "interactionSummary": "counters",
    "interaction_summary": "counters",
    "goalEvents": "goals",
    "goal_events": "goals",
    "errorEvents": "errors",
    "error_events": "errors",
    "llmInteractions": "llm",
    "llm_interactions": "llm",
}


class BadError(Exception):
    """A line that cannot be loaded."""


def parse_time(value: Any) -> int:
    """Milliseconds of an ISO text (no zone: UTC) or of a number of milliseconds."""
    if isinstance(value, (int, float)):
        return int(value)
    if not isinstance(value, str) or value.startswith("9999"):
        raise BadError(value)
    text = value.replace("Z", "+00:00")
    if text.endswith("+00"):
        text += ":00"
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000)


def files_of(folder: Path) -> list[tuple[Path, str]]:
    """The folder's files as text, each content once."""
    seen, files = set(), []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        if digest not in seen:
            seen.add(digest)
            files.append((path, (gzip.decompress(data) if path.suffix == ".gz" else data).decode()))
    return files


def records_of(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """All JSON objects of a stream's folder, and how many lines are none."""
    records, bad = [], 0
    for path, text in files_of(folder):
        if path.suffix == ".json":
            records += json.loads(text, parse_float=Decimal)
            continue
        for line in text.splitlines():
            try:
                record = json.loads(line, parse_float=Decimal)
            except ValueError:
                bad += 1
                continue
            if isinstance(record, dict):
                records.append(record)
            else:
                bad += 1
    return records, bad


def consenting(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records but those of people who are not to be tracked, who say so in one of three ways."""
    refusals = (("doNotTrack", True), ("dnt", "1"), ("analyticsConsent", "denied"))
    said = [{**record, **(record.get("metadata") or {})} for record in records]
    return [
        record for record, what in zip(records, said, strict=True) if not any(what.get(k) == v for k, v in refusals)
    ]


class Reader:
    """Reads the streams below a folder and counts those with activity per app and day."""

    def __init__(self, folder: Path):
        self.bad_lines: Counter[str] = Counter()
        self.bad_elements: Counter[str] = Counter()
        self.counts: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        self.cost: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
        self.interactions: Counter[str] = Counter()
        self.merged: dict[str, str] = {}
        self.sign_ins: dict[str, set[tuple[int, str]]] = defaultdict(set)
        # group -> (time, app, is a goal, user id, anonymous id)
        self.activity: dict[str, list[tuple[int, str, bool, str | None, str | None]]] = defaultdict(list)
        self.llm: list[dict[str, Any]] = []
        self._batches(folder / "session_batches")
        self._events(folder / "events")
        self._requests(folder / "llm_requests")
        for stream in ("identifies", "costs", "privacy_requests"):
            _, self.bad_lines[stream] = records_of(folder / stream)
        self._count_llm()
        self.persons: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._sessions()

    def happened(
        self, app: str, group: str, at: int, goal: bool = False, user: str | None = None, anon: str | None = None
    ) -> None:
        self.activity[group].append((at, app, goal, user, anon))

    def count(self, app: str, at: int, what: str, by: int = 1) -> None:
        self.counts[app, at // DAY][what] += by

    def _batches(self, folder: Path) -> None:
        records, self.bad_lines["session_batches"] = records_of(folder)
        snapshots: dict[str, list[dict[str, Any]]] = defaultdict(list)
        server_rows: dict[str, dict[str, Any]] = {}
        for record in consenting(records):
            batch = {BATCH_KEYS.get(key, key): value for key, value in record.items()}
            try:
                uuid.UUID(batch["batch_id"])
                if not isinstance(batch["batch_seq"], int) or not batch["session_id"]:
                    raise BadError
                if "started_at" not in batch:
                    server_rows[batch["batch_id"]] = batch
                    continue
                batch["started_at"] = parse_time(batch["started_at"])
            except (BadError, KeyError, ValueError):
                self.bad_lines["session_batches"] += 1
                continue
            if not batch.get("counters") and "goals" not in batch:
                raise AssertionError(f"unexpected batch {record}")
            self.bad_elements["session_batches"] += sum(not isinstance(e, dict) for e in batch["errors"])
            batch["errors"] = [error for error in batch["errors"] if isinstance(error, dict)]
            snapshots[batch["batch_id"]].append(batch)
        for versions in snapshots.values():
            versions.sort(key=self._growth)
            ids = list(dict.fromkeys(version["session_id"] for version in versions))
            for earlier, later in itertools.pairwise(ids):
                if earlier.startswith("anon-") and not later.startswith("anon-"):
                    self.merged[earlier] = later
                    user = next(v["user_id"] for v in versions if v["session_id"] == later)
                    self.sign_ins[earlier].add((versions[0]["started_at"], user))
        self._lineages(sorted(snapshots.values(), key=lambda versions: versions[0]["started_at"]))
        for row in server_rows.values():
            (entry,) = row["llm_interactions"] if "llm_interactions" in row else row["llm"]
            self.llm.append(
                {
                    "group": self._group(row["session_id"]),
                    "at": parse_time(entry["timestamp"]),
                    "model": entry["model"],
                    "tokens": entry["tokens"],
                    "cost": Decimal(entry["cost"]),
                    "app": "default",
                    "server": True,
                }
            )

    @staticmethod
    def _growth(batch: dict[str, Any]) -> tuple[Any, ...]:
        times = [*batch["goals"].values(), *(entry["timestamp"] for entry in batch["llm"])]
        ended = parse_time(batch["ended_at"]) if batch.get("ended_at") else 0
        newest_error = max((error["time"] for error in batch["errors"]), default=0)
        return len(batch["path"]), sum(batch["counters"].values()), max(times, default=""), newest_error, ended

    def _group(self, session_id: str) -> str:
        return "s:" + self.merged.get(session_id, session_id)

    def _lineages(self, batches: list[list[dict[str, Any]]]) -> None:
        done: dict[tuple[str, int], list[list[dict[str, Any]]]] = defaultdict(list)
        last_of: dict[str, list[dict[str, Any]]] = {}
        goals: dict[tuple[str, str], str] = {}
        llm: dict[tuple[Any, ...], str] = {}
        for versions in batches:
            last, first = versions[-1], versions[0]
            shared, parent = 0, None
            for older in reversed(done[first["session_id"], first["batch_seq"]]):
                common = self._common(older, versions)
                if common > shared:
                    shared, parent = common, older
            start_counters: dict[str, int] = {}
            if parent:
                start_counters = self._restored_counters(parent, first, shared)
            elif first["batch_seq"] > 0:
                shared = 1
                start_counters = last_of[first["session_id"]][-1]["counters"]
            known_errors = [error for version in parent or () for error in version["errors"]]
            for name, value in last["counters"].items():
                self.interactions[name] += value - start_counters.get(name, 0)
            self.happened("default", self._group(first["session_id"]), first["started_at"], **self._who(first))
            for position in range(shared, len(last["path"])):
                owner = next(version for version in versions if len(version["path"]) > position)
                at = last["started_at"] + last["timings"][position]
                self.count("default", at, "page_views")
                self.happened("default", self._group(owner["session_id"]), at, **self._who(owner))
            for version in versions:
                for goal, time in version["goals"].items():
                    goals.setdefault((goal, time), self._group(version["session_id"]))
                for entry in version["llm"]:
                    key = (entry["model"], entry["tokens"], Decimal(entry["cost"]), entry["timestamp"])
                    llm.setdefault(key, self._group(version["session_id"]))
                for error in version["errors"]:
                    if error not in known_errors:
                        known_errors.append(error)
                        at = version["started_at"] + error["time"]
                        self.count("default", at, "errors")
                        self.happened("default", self._group(version["session_id"]), at, **self._who(version))
            for place in {(version["session_id"], version["batch_seq"]) for version in versions}:
                done[place].append(versions)
                last_of[place[0]] = versions
        for (_, time), group in goals.items():
            self.count("default", parse_time(time), "goals")
            self.happened("default", group, parse_time(time), goal=True)
        for (model, tokens, cost, time), group in llm.items():
            entry = {"group": group, "at": parse_time(time), "model": model, "tokens": tokens, "cost": cost}
            self.llm.append({**entry, "app": "default", "server": False})

    @staticmethod
    def _who(batch: dict[str, Any]) -> dict[str, str | None]:
        session_id = batch["session_id"]
        return {"user": batch["user_id"], "anon": session_id if session_id.startswith("anon-") else None}

    @staticmethod
    def _common(older: list[dict[str, Any]], versions: list[dict[str, Any]]) -> int:
        one, two = older[-1], versions[-1]
        pairs = zip(
            zip(one["path"], one["timings"], strict=True), zip(two["path"], two["timings"], strict=True), strict=False
        )
        common = 0
        for first, second in pairs:
            if first != second:
                break
            common += 1
        times = {time for version in older for time in version["goals"].values()}
        agree = any(time in times for time in versions[0]["goals"].values())
        return common if common > 1 or (common == 1 and agree) else 0

    @staticmethod
    def _restored_counters(parent: list[dict[str, Any]], first: dict[str, Any], shared: int) -> dict[str, int]:
        """Counters of the flush a batch was restored from: the greatest one it contains."""
        flushes = [v for v in parent if v.get("ended_at") and len(v["path"]) <= shared]
        flushes = [v for v in flushes if all(first["counters"].get(name, 0) >= n for name, n in v["counters"].items())]
        return flushes[-1]["counters"]

    def _events(self, folder: Path) -> None:
        records, self.bad_lines["events"] = records_of(folder)
        events: dict[str, dict[str, Any]] = {}
        for record in consenting(records):
            parts = record.get("events", [None])
            for part in parts:
                event = {k: v for k, v in record.items() if k != "events"} | (part or {})
                nested = event.get("properties") or {}
                name = next(
                    (event[k] for k in ("event_name", "eventName", "event", "action", "type") if k in event), None
                )
                times = ("client_timestamp", "timestamp", "createdAt", "created_at")
                sent = next((event[k] for k in times if k in event), nested.get("timestamp"))
                try:
                    at = parse_time(sent)
                    if "client_timestamp" in event and "timestamp" in event:
                        server = parse_time(event["timestamp"])
                        at = server if abs(server - at) > DAY else at
                    if name is None or isinstance(event.get("revenue"), str):
                        raise BadError
                except BadError:
                    (self.bad_elements if part else self.bad_lines)["events"] += 1
                    continue
                key = event.get("eventId") or event.get("event_id") or json.dumps(event, sort_keys=True, default=str)
                events[key] = {**event, "name": name, "at": at, "key": key}
        sent_by_group: Counter[tuple[str, str]] = Counter()
        for event in events.values():
            nested = event.get("properties") or {}
            user = event.get("userId") or event.get("user_id") or nested.get("userId")
            anon = event.get("anonymousId") or event.get("anonymous_id")
            session = event.get("sessionId") or event.get("session_id")
            app = event.get("chatbotId") or event.get("funnelId") or event.get("funnel_id") or "default"
            own = {"a:": anon, "u:": user, "e:": event["key"]}
            group = self._group(session) if session else next(kind + id_ for kind, id_ in own.items() if id_)
            goal = bool(event.get("isConversion") or event.get("is_conversion"))
            goal = goal or event["name"] == "campaign_conversion"
            if anon and user:
                self.sign_ins[anon].add((event["at"], user))
            if session and session.startswith("anon-"):
                anon = session
            self.happened(app, group, event["at"], goal, user, anon)
            if goal:
                self.count(app, event["at"], "goals")
            measure = {
                "page_view": "page_views",
                "widget_opened": "widget_opens",
                "widget_loaded": "widget_loads",
                "widget_error": "errors",
                "message_sent": "messages_sent",
                "message_received": "messages_received",
            }.get(event["name"])
            if measure:
                self.count(app, event["at"], measure)
                sent_by_group[group, measure] += 1

    def _requests(self, folder: Path) -> None:
        records, self.bad_lines["llm_requests"] = records_of(folder)
        requests = {}
        for record in consenting(records):
            if record.get("type") == "feedback":
                continue
            value = {key.replace("_", "").lower(): item for key, item in record.items()}
            try:
                at = parse_time(value["timestamp"])
                if not isinstance(value["inputtokens"], int):
                    raise BadError
            except BadError:
                self.bad_lines["llm_requests"] += 1
                continue
            requests[value["requestid"]] = {**value, "at": at}
        for value in requests.values():
            session, user = value.get("sessionid"), value.get("userid")
            self.llm.append(
                {
                    "group": self._group(session) if session else f"u:{user}",
                    "at": value["at"],
                    "model": value["modelid"],
                    "tokens": value["inputtokens"] + value["outputtokens"],
                    "cost": Decimal(value["cost"]) if "cost" in value else None,
                    "app": value.get("chatbotid", "default"),
                    "server": True,
                    "user": user,
                }
            )

    def _count_llm(self) -> None:
        told = defaultdict(list)
        for entry in self.llm:
            if entry["server"]:
                told[entry["group"]].append(entry)
        matched: set[int] = set()
        for entry in [e for e in self.llm if not e["server"]]:
            for row in told[entry["group"]]:
                same = entry["model"] == row["model"] and entry["tokens"] == row["tokens"]
                stopped = entry["model"] == "unknown"
                if (same or stopped) and abs(row["at"] - entry["at"]) <= 20_000 and id(row) not in matched:
                    matched.add(id(row))
                    entry["cost"], entry["tokens"] = row["cost"], row["tokens"]
                    break
        for entry in self.llm:
            self.happened(entry["app"], entry["group"], entry["at"], user=entry.get("user"))
            if id(entry) in matched:
                continue
            self.count(entry["app"], entry["at"], "llm_requests")
            self.count(entry["app"], entry["at"], "tokens", entry["tokens"])
            if entry["cost"] is None:
                self.count(entry["app"], entry["at"], "unpriced_requests")
            else:
                self.cost[entry["app"], entry["at"] // DAY] += entry["cost"]

    def _sessions(self) -> None:
        for group, activity in self.activity.items():
            activity.sort(key=lambda one: one[0])
            visits: list[list[Any]] = []
            run_start = last = None
            for one in activity:
                at = one[0]
                if last is None or at - last >= GAP:
                    run_start = at
                    visits.append([])
                elif (at - run_start) // DAY > (visits[-1][0][0] - run_start) // DAY:
                    visits.append([])
                visits[-1].append(one)
                last = at
            for visit in visits:
                at, app = visit[0][:2]
                self.count(app, at, "sessions")
                self.counts[app, at // DAY]["conversions"] += any(one[2] for one in visit)
                self.persons[app, at // DAY].add(self._person(group, visit))

    def _person(self, group: str, visit: list[Any]) -> str:
        users = {one[3] for one in visit if one[3]}
        if users:
            (user,) = users
            return f"u:{user}"
        anonymous = next((one[4] for one in visit if one[4]), None)
        if not anonymous:
            return group
        sign_ins = sorted(self.sign_ins.get(anonymous, ()))
        if not sign_ins:
            return f"a:{anonymous}"
        before = [user for at, user in sign_ins if at <= visit[0][0]]
        return f"u:{before[-1] if before else sign_ins[0][1]}"
