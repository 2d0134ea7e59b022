"""The sample: the same bytes each time, every trap in its files, and a truth its files agree with."""

import gzip
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from careful_reader import Reader, parse_time

from ingest.errors import TidemarkError
from ingest.sample import AS_OF, write_sample
from ingest.sample.clock import AS_OF_MS, DAY, HOUR, MINUTE
from ingest.sample.delivery import STREAMS, gzip_stored
from ingest.sample.truth import COUNTS, Truth
from ingest.sample.world import MODELS

START = 1_772_442_000_000  # 2026-03-02T09:00:00Z

TRAPS = {
    "anonymous_chat_before_sign_in",
    "bad_element",
    "bad_line",
    "beacon",
    "client_clock_wrong",
    "epoch_milliseconds",
    "event_bodies",
    "event_in_browser_session",
    "event_with_anonymous_id_only",
    "event_without_any_id",
    "exported_row",
    "feedback_by_request_id",
    "file_gzip",
    "file_json_array",
    "file_out_of_order",
    "file_twice",
    "file_twice_recompressed",
    "gap_just_under_30_minutes",
    "gap_of_exactly_30_minutes",
    "identity_nested_in_properties",
    "idle_flush_and_beacons",
    "later_visit_under_old_session",
    "line_again_days_later",
    "line_twice",
    "line_twice_other_key_style",
    "lone_surrogate",
    "metadata_lost",
    "nul_character",
    "over_10_llm_interactions",
    "over_20_errors",
    "purchase_names_the_user",
    "reload_loses_pages",
    "reload_of_one_page_with_goal",
    "reload_restored",
    "reload_with_nothing_restored",
    "request_told_by_browser_and_option_b",
    "request_told_by_browser_and_request_record",
    "request_without_cost",
    "rotation",
    "session_increment",
    "session_upsert",
    "shared_computer",
    "sign_in_after_an_earlier_visit",
    "sign_in_before_anything_was_sent",
    "sign_in_by_redirect",
    "sign_in_mid_batch",
    "sign_in_with_earlier_anonymous_batch",
    "sign_out_mid_batch",
    "snake_case_keys",
    "snapshot",
    "stopped_generation",
    "stopped_generation_told_by_server",
    "straggling_session",
    "tab_left_open_overnight",
    "two_anonymous_tabs_sign_in",
    "two_tabs",
    "unmeasured_load_time",
    "visit_cut_at_24_hours",
    "widget_session_returns_after_gap",
    "without_consent",
}


class Emitted:
    """A written sample: its truth, and its lines by stream and file, those of second deliveries apart."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.truth = json.loads((folder / "truth.json").read_text())
        self.traps = self.truth["traps"]
        self.lines: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for stream in STREAMS:
            for path in sorted((folder / stream).iterdir()):
                if re.search("-(copy|again)", path.name):
                    continue
                data = path.read_bytes()
                text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
                lines = text.strip("[]\n").replace("},\n{", "}\n{") if path.suffix == ".json" else text
                self.lines[stream] += [(path.name[:10], line) for line in lines.splitlines()]

    def objects(self, stream: str) -> list[dict]:
        """The distinct lines of a stream that are JSON objects."""
        found = []
        for line in dict.fromkeys(line for _, line in self.lines[stream]):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                found.append(record)
        return found

    def snapshots(self) -> list[dict]:
        """Browser snapshots sent in camelCase."""
        return [record for record in self.objects("session_batches") if "goalEvents" in record]


@pytest.fixture(scope="module")
def emitted(tmp_path_factory) -> Emitted:
    folder = tmp_path_factory.mktemp("sample") / "out"
    write_sample(folder, seed=7, days=35, visitors=400)
    return Emitted(folder)


@pytest.fixture(scope="module")
def reader(emitted) -> Reader:
    return Reader(emitted.folder)


def day_number(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "ingest", "sample", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_options_write_the_same_bytes_whatever_the_hash_seed(tmp_path):
    options = ["--seed", "3", "--days", "9", "--visitors", "40"]
    for number in ("1", "2"):
        done = run("--out", str(tmp_path / number), *options, PYTHONHASHSEED=number)
        assert (done.returncode, done.stderr) == (0, "")
    first = contents(tmp_path / "1")
    assert first == contents(tmp_path / "2")
    write_sample(tmp_path / "other", seed=4, days=9, visitors=40)
    assert first != contents(tmp_path / "other")


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = run("--out", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "not empty" in done.stderr
    assert contents(tmp_path) == {"mine.txt": b"mine"}


@pytest.mark.parametrize(("days", "visitors"), [(0, 40), (401, 40), (9, 9)])
def test_senseless_numbers_are_refused(tmp_path, days, visitors):
    with pytest.raises(TidemarkError):
        write_sample(tmp_path / "out", days=days, visitors=visitors)
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TidemarkError, match="not a folder"):
        write_sample(tmp_path / "file")
    with pytest.raises(TidemarkError, match="name another folder"):
        write_sample(tmp_path / "file" / "below")


@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 200_000])
def test_stored_gzip_is_gzip(length):
    data = bytes(number % 251 for number in range(length))
    assert gzip.decompress(gzip_stored(data)) == data


def test_every_day_ends_before_the_as_of(emitted):
    assert AS_OF.isoformat() == "2026-04-01T00:00:00+00:00"
    days = {row["day"] for row in emitted.truth["daily"]}
    assert (min(days), max(days), len(days)) == ("2026-02-25", "2026-03-31", 35)
    assert {day for stream in STREAMS for day, _ in emitted.lines[stream]} <= days


def test_daily_rows_add_up_to_the_totals(emitted):
    truth = emitted.truth
    rows_of = defaultdict(list)
    for row in truth["daily"]:
        rows_of[row["app_id"]].append(row)
    assert list(rows_of) == truth["apps"]
    for name in COUNTS:
        for app, rows in rows_of.items():
            assert sum(row[name] for row in rows) == truth["totals"]["apps"][app][name]
        assert sum(row[name] for row in truth["daily"]) == truth["totals"]["all"][name] > 0
    cost = sum(Decimal(row["cost_usd"]) for row in truth["daily"])
    assert cost == Decimal(truth["totals"]["all"]["cost_usd"]) > 0
    for app, rows in rows_of.items():
        persons = truth["totals"]["apps"][app]["visitors"]
        assert max(row["visitors"] for row in rows) <= persons < sum(row["visitors"] for row in rows)


def test_the_files_say_what_the_truth_says(emitted, reader):
    for row in emitted.truth["daily"]:
        place = (row["app_id"], day_number(row["day"]))
        read = {name: reader.counts[place][name] for name in COUNTS}
        assert read == {name: row[name] for name in COUNTS}, place
        assert reader.cost[place] == Decimal(row["cost_usd"]), place
        assert len(reader.persons[place]) == row["visitors"], place
    assert +reader.interactions == emitted.truth["interactions"]
    for stream in STREAMS:
        assert reader.bad_lines[stream] == emitted.truth["bad_lines"][stream] > 0
        assert reader.bad_elements[stream] == emitted.truth["bad_elements"][stream]


def test_every_line_is_a_record_a_duplicate_or_bad(emitted):
    lines = sum(map(len, emitted.lines.values()))
    twice = ("line_twice", "line_twice_other_key_style", "line_again_days_later")
    bad = sum(emitted.truth["bad_lines"].values())
    for path in emitted.folder.glob("*/*-again.ndjson.gz"):
        # Bad lines of a file delivered again in another form are rejected, and counted, again.
        again = gzip.decompress(path.read_bytes()).decode().splitlines()
        bad -= sum(not is_good(path.parent.name, line) for line in again)
    assert lines == sum(emitted.truth["records"].values()) + sum(emitted.traps[name] for name in twice) + bad


def is_good(stream: str, line: str) -> bool:
    """Whether a line of one of the loaded streams is none of the kinds of bad lines."""
    try:
        record = json.loads(line)
    except ValueError:
        return False
    if not isinstance(record, dict) or '"9999-' in line:
        return False
    if stream == "session_batches":
        keys = {key.replace("_", "").lower() for key in record}
        return "sessionid" in keys and "not-a-uuid" not in line and '"batchSeq":"many"' not in line
    if stream == "events":
        named = {"event_name", "eventName", "event", "action", "type", "events"} & set(record)
        return bool(named) and record.get("revenue") != "lots"
    return record.get("inputTokens") != "many"


def test_every_trap_is_planted(emitted):
    assert set(emitted.traps) == TRAPS


def test_traps_of_session_batches_are_in_the_files(emitted):
    traps, snapshots = emitted.traps, emitted.snapshots()
    records = emitted.objects("session_batches")
    option_b = {r["batch_id"]: r for r in records if "llm_interactions" in r and "path_sequence" not in r}
    assert len(option_b) == (traps["request_told_by_browser_and_option_b"])
    assert all(abs(r["batch_seq"] - parse_time(r["updated_at"])) < 1000 for r in option_b.values())
    unknown = {
        (e["model"], e["timestamp"], s["batchId"]) for s in snapshots for e in s["llmInteractions"] if not e["tokens"]
    }
    assert len({time for _, time, _ in unknown}) == traps["stopped_generation"]
    assert {model for model, _, _ in unknown} == {"unknown"}
    ids = defaultdict(set)
    for record in records:
        if "batchId" in record and record.get("sessionId"):
            ids[record["batchId"]].add(record["sessionId"].startswith("anon-"))
    both = sum(kinds == {True, False} for kinds in ids.values())
    assert both == (traps["sign_in_mid_batch"] + traps["two_anonymous_tabs_sign_in"] + traps["sign_out_mid_batch"])
    assert sum("created_at" in r for r in records) == traps["exported_row"]
    # A beacon that adds nothing reads as the one before it, so distinct ones are fewer.
    beacons = sum("endedAt" not in s for s in snapshots if "startedAt" in s)
    assert 0.8 * traps["beacon"] < beacons < traps["beacon"]
    assert sum(isinstance(s["startedAt"], int) for s in snapshots) > 0
    flushes = [s for s in snapshots if "endedAt" in s]
    assert any(len(s["errorEvents"]) > 20 for s in flushes)
    assert any(len(s["llmInteractions"]) > 10 for s in flushes)
    assert any(s["batchSeq"] == 1 for s in snapshots)
    assert any(s["pageLoadTimes"].get(s["pathSequence"][-1]) in (0, 1) for s in snapshots)
    assert any(s["pathTimings"] != sorted(s["pathTimings"]) for s in snapshots)
    assert any(s["metadata"] == {} for s in snapshots)
    text = "".join(line for _, line in emitted.lines["session_batches"])
    assert "\\u0000" in text
    assert "\\ud83d" in text


def test_people_without_consent_are_in_the_files(emitted):
    streams = ("session_batches", "events", "llm_requests")
    private = [r for stream in streams for r in emitted.objects(stream) if r.get("userId") == "private_user"]
    assert len(private) == emitted.traps["without_consent"] == 3 * 35


def test_gaps_at_the_edge_are_in_the_files(emitted):
    gaps = Counter()
    longest = sorted(emitted.snapshots(), key=lambda snapshot: len(snapshot["pathTimings"]))
    for snapshot in {s["batchId"]: s for s in longest}.values():
        gaps.update(later - earlier for earlier, later in itertools.pairwise(snapshot["pathTimings"]))
    assert gaps[30 * MINUTE] == emitted.traps["gap_of_exactly_30_minutes"]
    assert gaps[30 * MINUTE - 1] == emitted.traps["gap_just_under_30_minutes"]


def test_one_session_id_starts_at_batch_zero_in_several_tabs_and_visits(emitted):
    batches = defaultdict(set)
    for snapshot in emitted.snapshots():
        if snapshot["batchSeq"] == 0 and not snapshot["sessionId"].startswith("anon-"):
            batches[snapshot["sessionId"]].add(snapshot["batchId"])
    assert max(map(len, batches.values())) > 5


def test_reloads_share_their_beginning_under_another_batch_id(emitted):
    beginnings = defaultdict(set)
    for snapshot in emitted.snapshots():
        if len(snapshot["pathSequence"]) > 1:
            start = (*snapshot["pathSequence"][:2], *snapshot["pathTimings"][:2])
            beginnings[snapshot["sessionId"], snapshot["batchSeq"], start].add(snapshot["batchId"])
    reloaded = sum(len(batch_ids) - 1 for batch_ids in beginnings.values())
    lone = emitted.traps["reload_of_one_page_with_goal"]
    assert reloaded == pytest.approx(emitted.traps["reload_restored"] - lone, rel=0.1)


def test_traps_of_events_and_requests_are_in_the_files(emitted):
    traps, events = emitted.traps, emitted.objects("events")
    flat = [e for e in events if "events" not in e]
    assert sum("events" in e for e in events) == traps["event_bodies"]
    assert sum(e.get("event_name") == "session_increment" for e in flat) == traps["session_increment"]
    assert sum(e.get("event_name") == "session_upsert" for e in flat) == traps["session_upsert"]
    nested = [e for e in flat if "userId" in e.get("properties", {}) and "userId" not in e]
    assert len(nested) == traps["identity_nested_in_properties"]
    names = ("sessionId", "session_id", "userId", "user_id", "anonymousId", "anonymous_id")
    nobody = [e for e in flat if not any(name in e for name in names) and "eventId" not in e and e not in nested]
    assert len([e for e in nobody if "action" in e or "event_name" in e]) == traps["event_without_any_id"]
    assert any(isinstance(e.get("createdAt"), int) for e in flat)
    clocks = [t["client_timestamp"] for e in events for t in e.get("events", []) if "timestamp" in t]
    assert {time[:4] for time in clocks} == {"2019"}
    users = defaultdict(set)
    for event in flat:
        if event.get("anonymousId", "").startswith("shared_") and event.get("userId"):
            users[event["anonymousId"]].add(event["userId"])
    assert sorted(map(len, users.values())) == [2, 2, 2]
    keys = {key for event in flat for key in event}
    assert {"eventName", "event_name", "anonymousId", "anonymous_id"} <= keys

    requests = [r for r in emitted.objects("llm_requests") if "requestId" in r]
    assert sum(r.get("type") == "feedback" for r in requests) == traps["feedback_by_request_id"]
    told = [r for r in requests if "modelId" in r and is_good("llm_requests", json.dumps(r))]
    unpriced = [r for r in told if "cost" not in r and "totalTokens" in r]
    assert {r["modelId"] for r in unpriced} == {"in-house-13b"}
    assert len(unpriced) == traps["request_without_cost"] == emitted.truth["totals"]["all"]["unpriced_requests"]
    assert {model.model for model in MODELS} <= {r["modelId"] for r in told}
    assert len({r["provider"] for r in told if "cost" in r}) == 3
    in_browser = [r for r in told if r.get("chatId")]
    assert len(in_browser) == traps["request_told_by_browser_and_request_record"]


def test_files_come_late_twice_compressed_and_out_of_order(emitted):
    names = [str(path.relative_to(emitted.folder)) for path in emitted.folder.glob("*/*")]
    copies = [name for name in names if "-copy" in name]
    assert len(copies) == emitted.traps["file_twice"]
    for name in copies:
        copy = emitted.folder / name
        assert copy.read_bytes() == copy.with_name(copy.name.replace("-copy", "")).read_bytes()
    again = [name for name in names if "-again" in name]
    assert len(again) == emitted.traps["file_twice_recompressed"]
    for name in again:
        other = emitted.folder / name.replace("-again.ndjson.gz", ".ndjson")
        assert gzip.decompress((emitted.folder / name).read_bytes()) == other.read_bytes()
    assert sum(name.endswith(".gz") for name in names) == emitted.traps["file_gzip"] + len(again)
    assert sum(name.endswith(".json") for name in names) == emitted.traps["file_json_array"]
    days_late = Counter()
    for day, line in emitted.lines["session_batches"]:
        match = re.search(r'"endedAt":"(.{10})', line)
        if match and not match.group(1).startswith("9999"):
            days_late[day_number(day) - day_number(match.group(1))] += 1
    assert min(days_late) == 0
    assert days_late[1] > 0
    assert days_late[2] > 0


def test_incidents_are_in_the_last_week_on_weekdays_in_busy_hours_and_apart(emitted):
    spans = []
    for incident in emitted.truth["incidents"]:
        assert set(incident) == {"kind", "app_id", "metric", "start", "end", "cause"}
        start, end = (datetime.fromisoformat(incident[key][:19]) for key in ("start", "end"))
        assert start >= AS_OF.replace(tzinfo=None) - timedelta(days=7)
        assert start.weekday() < 5
        assert 8 <= start.hour < 18
        spans.append((start, end))
    spans.sort()
    assert all(earlier[1] < later[0] for earlier, later in itertools.pairwise(spans))
    kinds = [incident["kind"] for incident in emitted.truth["incidents"]]
    assert kinds == ["cost_spike", "auth_failure_spike", "engagement_drop"]


def incident_span(emitted: Emitted, kind: str) -> tuple[int, int]:
    (incident,) = [one for one in emitted.truth["incidents"] if one["kind"] == kind]
    return parse_time(incident["start"]), parse_time(incident["end"])


def test_the_cost_spike_dwarfs_every_other_hour(emitted, reader):
    start, end = incident_span(emitted, "cost_spike")
    assert end - start == HOUR
    cost: Counter[int] = Counter()
    for entry in reader.llm:
        cost[entry["at"] // HOUR] += entry["cost"] or 0
    (spike, most), (_, second) = cost.most_common(2)
    assert spike * HOUR == start
    assert most > 20 * second


def test_sign_in_failures_burst_in_one_place_only(emitted):
    start, end = incident_span(emitted, "auth_failure_spike")
    failed = Counter()
    for event in emitted.objects("events"):
        if "sign_in_failed" in (event.get("action"), event.get("event_name"), event.get("event")):
            sent = event.get("createdAt") or event.get("created_at") or event["properties"]["timestamp"]
            failed[parse_time(sent) // (15 * MINUTE) * 15 * MINUTE] += 1
    inside = {bucket: count for bucket, count in failed.items() if start - 15 * MINUTE < bucket < end}
    assert set(inside) == {start, start + 15 * MINUTE}
    assert min(inside.values()) > 20
    assert max(count for bucket, count in failed.items() if bucket not in inside) < 10


def test_traffic_of_the_web_app_falls_by_more_than_seventy_percent(emitted, reader):
    start, end = incident_span(emitted, "engagement_drop")
    assert 2 * HOUR <= end - start <= 3 * HOUR
    active = Counter(one[0] // HOUR for activity in reader.activity.values() for one in activity if one[1] == "default")
    for hour in range(start // HOUR, end // HOUR):
        usual = sorted(active[hour - 168 * week] for week in (1, 2, 3, 4))
        assert active[hour] < 0.3 * usual[0]
    before = start // HOUR - 2
    assert active[before] > 0.5 * min(active[before - 168 * week] for week in (1, 2, 3, 4))


def test_weeks_and_hours_have_a_rhythm(emitted):
    views = {row["day"]: row["page_views"] for row in emitted.truth["daily"] if row["app_id"] == "default"}
    weekend = [count for day, count in views.items() if date.fromisoformat(day).weekday() >= 5]
    week = [count for day, count in views.items() if date.fromisoformat(day).weekday() < 5]
    assert max(weekend) < min(week)


class TestSessionizer:
    """Truth's own visits, on activity whose visits are plain to see."""

    @pytest.fixture
    def truth(self):
        return Truth(("default",), START - 9 * HOUR)

    def visits(self, truth, days=2):
        for day in range(days):
            truth.close_day(START - 9 * HOUR + (day + 1) * DAY)
        return [(row["sessions"], row["conversions"], row["visitors"]) for row in truth.result(days)["daily"]]

    def test_a_gap_of_thirty_minutes_parts_visits_and_a_shorter_one_does_not(self, truth):
        for at in (0, 30 * MINUTE, 60 * MINUTE - 1):
            truth.activity("default", "s:1", START + at, "u:1")
        assert self.visits(truth) == [(2, 0, 1), (0, 0, 0)]

    def test_a_run_is_cut_a_day_after_it_began(self, truth):
        for number in range(26 * 4):
            truth.activity("default", "u:1", START + number * 15 * MINUTE, "u:1")
        assert self.visits(truth) == [(1, 0, 1), (1, 0, 1)]

    def test_the_day_of_a_visit_is_the_day_it_starts(self, truth):
        truth.activity("default", "s:1", START + 15 * HOUR - MINUTE, "u:1")
        truth.goal("default", "s:1", START + 15 * HOUR + MINUTE, "u:1")
        assert self.visits(truth) == [(1, 1, 1), (0, 0, 0)]

    def test_signing_in_makes_one_visit_of_the_user(self, truth):
        truth.activity("default", "s:anon-1", START, "a:anon-1")
        truth.merge("s:anon-1", "s:2")
        truth.activity("default", "s:2", START + MINUTE, "u:2")
        assert self.visits(truth) == [(1, 0, 1), (0, 0, 0)]

    def test_an_anonymous_visit_is_of_the_user_who_signed_in_last_before_it_else_first_after(self, truth):
        # Before any sign-in, between two, and after both: user 1, user 1, user 2.
        for hours in (0, 2, 4):
            truth.activity("default", f"s:{hours}", START + hours * HOUR, "a:v")
        truth.signed_in("v", "1", START + HOUR, shared=True)
        truth.signed_in("v", "2", START + 3 * HOUR, shared=True)
        assert self.visits(truth) == [(3, 0, 2), (0, 0, 0)]

    def test_activity_outside_the_sample_is_a_mistake(self, truth):
        with pytest.raises(AssertionError):
            truth.activity("default", "s:1", AS_OF_MS, "u:1")
