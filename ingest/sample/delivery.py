"""From records to files: a folder per stream, files by the day they were delivered, with delivery's accidents.

Duplicates, stragglers, bad lines and files delivered twice are made here, and counted as they are written.
"""

import json
import struct
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ingest.sample.clock import DAY, date_of, iso
from ingest.sample.truth import Truth
from ingest.sample.world import FUNNEL_APP, WIDGET_APP, new_id

STREAMS = ("session_batches", "events", "llm_requests", "identifies", "costs", "privacy_requests")
PARTS = {"session_batches": 2, "events": 2}

TWICE_RATE = 0.006
AGAIN_RATE = 0.004
LINES_PER_BAD_LINE = 400
STORED_BLOCK = 65_535


@dataclass(frozen=True)
class Line:
    """One line of a file; `bad` ones cannot be loaded, nor can `bad_elements` of its array."""

    text: str
    bad: bool = False
    bad_elements: int = 0


def encode(record: Any) -> str:
    """A record as one line of JSON."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


def gzip_stored(data: bytes) -> bytes:
    """A gzip file of uncompressed blocks: its bytes are the same whatever zlib is installed."""
    blocks = [data[start : start + STORED_BLOCK] for start in range(0, len(data), STORED_BLOCK)] or [b""]
    body = b"".join(
        struct.pack("<BHH", index == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for index, block in enumerate(blocks)
    )
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return header + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def _bad_session_batches(rng: Random, at: int) -> list[Callable[[], str]]:
    good = {
        "sessionId": new_id(rng),
        "batchId": new_id(rng),
        "batchSeq": 0,
        "startedAt": iso(at),
        "pathSequence": ["/"],
        "pathTimings": [0],
    }
    return [
        lambda: encode(good)[:-9],
        lambda: encode("out of memory"),
        lambda: encode({key: value for key, value in good.items() if key != "sessionId"}),
        lambda: encode({**good, "batchId": "not-a-uuid"}),
        lambda: encode({**good, "startedAt": "9999-12-31T23:59:59.000Z"}),
        lambda: encode({**good, "batchSeq": "many"}),
    ]


def _bad_events(rng: Random, at: int) -> list[Callable[[], str]]:
    good = {
        "eventId": new_id(rng),
        "eventName": "page_view",
        "funnelId": FUNNEL_APP,
        "sessionId": f"fsess_{rng.getrandbits(48):012x}",
        "timestamp": iso(at),
    }
    return [
        lambda: encode(good)[:-5],
        lambda: "42",
        lambda: encode({key: value for key, value in good.items() if key != "eventName"}),
        lambda: encode({**good, "timestamp": "9999-12-31T23:59:59Z"}),
        lambda: encode({**good, "eventName": "purchase_completed", "revenue": "lots"}),
    ]


def _bad_llm_requests(rng: Random, at: int) -> list[Callable[[], str]]:
    good = {
        "requestId": f"req_{rng.getrandbits(64):016x}",
        "userId": new_id(rng),
        "modelId": "gpt-4o",
        "provider": "openai",
        "inputTokens": 900,
        "outputTokens": 120,
        "timestamp": iso(at),
    }
    return [
        lambda: encode(good)[:-7],
        lambda: encode({**good, "inputTokens": "many"}),
        lambda: encode("timeout"),
        lambda: encode({**good, "timestamp": "9999-01-01T00:00:00Z"}),
    ]


def _bad_others(rng: Random, at: int) -> list[Callable[[], str]]:
    return [lambda: encode({"timestamp": iso(at), "appId": WIDGET_APP})[:-3], lambda: "17"]


BAD_LINES = {
    "session_batches": _bad_session_batches,
    "events": _bad_events,
    "llm_requests": _bad_llm_requests,
}


class Delivery:
    """Takes records with the time they are sent and writes each day's files when the day is over."""

    def __init__(self, out: Path, rng: Random, truth: Truth, first_at: int, days: int):
        self.out = out
        self.records: Counter[str] = Counter()
        self.bad_lines: Counter[str] = Counter()
        self.bad_elements: Counter[str] = Counter()
        self._rng = rng
        self._truth = truth
        self._first_day = first_at // DAY
        self._last_day = self._first_day + days - 1
        self._lines: dict[tuple[int, str], list[Line]] = defaultdict(list)
        self._bad_kind: Counter[str] = Counter()

    def send(
        self, stream: str, record: Any, at: int, delay: int = 0, bad_elements: int = 0, other_style: Any = None
    ) -> None:
        """Deliver a record `delay` ms after `at`, on the sample's last day at the latest.

        Now and then it comes twice; `other_style`, the same record with its keys written in the other
        style, is then what comes the second time.
        """
        line = Line(encode(record), bad_elements=bad_elements)
        day = min((at + delay) // DAY, self._last_day)
        self._lines[day, stream].append(line)
        self.records[stream] += 1
        if bad_elements:
            return
        chance = self._rng.random()
        if chance < TWICE_RATE:
            self._lines[day, stream].append(line if other_style is None else Line(encode(other_style)))
            self._truth.trap("line_twice" if other_style is None else "line_twice_other_key_style")
        elif chance < TWICE_RATE + AGAIN_RATE and day < self._last_day:
            later = min(day + 1 + int(self._rng.random() * 4), self._last_day)
            self._lines[later, stream].append(line)
            self._truth.trap("line_again_days_later")

    def close_day(self, day_at: int) -> None:
        """Write the files of one day; nothing more may be delivered on it."""
        day = day_at // DAY
        for stream in STREAMS:
            lines = self._lines.pop((day, stream), [])
            if not lines:
                continue
            for _ in range(1 + len(lines) // LINES_PER_BAD_LINE):
                place = int(self._rng.random() * (len(lines) + 1))
                lines.insert(place, Line(self._bad_line(stream, day_at), bad=True))
            parts: list[list[Line]] = [[] for _ in range(PARTS.get(stream, 1))]
            for line in lines:
                parts[int(self._rng.random() * len(parts))].append(line)
            for number, part in enumerate(parts):
                self._write(stream, day, number, part)

    def _bad_line(self, stream: str, day_at: int) -> str:
        kinds = BAD_LINES.get(stream, _bad_others)(self._rng, day_at + int(self._rng.random() * DAY))
        kind = self._bad_kind[stream] % len(kinds)
        self._bad_kind[stream] += 1
        return kinds[kind]()

    def _write(self, stream: str, day: int, number: int, lines: list[Line]) -> None:
        """One file, and its second delivery on a few days; every fifth part is out of order."""
        if not lines:
            return
        folder = self.out / stream
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{date_of(day * DAY)}-{number}"
        age = day - self._first_day
        if (age + number) % 5 == 3:
            self._rng.shuffle(lines)
            self._truth.trap("file_out_of_order")
        if stream == "llm_requests" and age % 9 == 3:
            lines = [line for line in lines if not line.bad]
            array = "[" + ",\n".join(line.text for line in lines) + "]\n"
            (folder / f"{name}.json").write_bytes(_bytes(array))
            self._truth.trap("file_json_array")
            self._count(stream, lines)
            return
        data = _bytes("\n".join(line.text for line in lines) + "\n")
        compressed = number == 0 and age % 6 == 5
        if compressed:
            (folder / f"{name}.ndjson.gz").write_bytes(gzip_stored(data))
            self._truth.trap("file_gzip")
        else:
            (folder / f"{name}.ndjson").write_bytes(data)
        self._count(stream, lines)
        if number == 0 and not compressed:
            if age % 11 == 4:
                (folder / f"{name}-copy.ndjson").write_bytes(data)
                self._truth.trap("file_twice")
            elif age % 11 == 6:
                (folder / f"{name}-again.ndjson.gz").write_bytes(gzip_stored(data))
                self._count(stream, lines)
                self._truth.trap("file_twice_recompressed")

    def _count(self, stream: str, lines: Iterable[Line]) -> None:
        for line in lines:
            self.bad_lines[stream] += line.bad
            self.bad_elements[stream] += line.bad_elements
            self._truth.trap("bad_line", line.bad)
            self._truth.trap("bad_element", line.bad_elements)


def _bytes(text: str) -> bytes:
    # A lone surrogate cannot be encoded; `backslashreplace` writes it just as JSON escapes it.
    return text.encode("utf-8", "backslashreplace")
