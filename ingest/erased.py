"""Erased persons do not come back: what a load brings of them is refused before anybody can see it.

An erasure writes its tombstones under the lock that a load publishes under. A load looks for them twice: with most of
the work before that lock, and again, for those written meanwhile, under it.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg

from ingest.hash_key import hash_key, keyed_hash

# Streams whose rows a person's activity, or what is said of them, is in. A request about a person's data is let in.
STREAMS = frozenset(("session_batches", "events", "llm_requests", "identifies", "costs"))
IDS = dict.fromkeys(STREAMS, ("user_id", "anonymous_id", "session_id"))
IDS["identifies"] += ("lower(btrim(email))",)
# What may be an id in bytes that could not be decoded.
QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')
WORDS = re.compile(rb"[A-Za-z0-9._%+@|:-]{2,255}")


class Erased:
    """The tombstones a load has looked for so far."""

    def __init__(self, cursor: psycopg.Cursor, stream: str, load_id: int, received_at: str) -> None:
        self.cursor, self.stream, self.load_id, self.received_at = cursor, stream, load_id, received_at
        self.seen: set[str] = set()
        self.key: str | None = None
        self.ids: set[str] = set()

    def refuse(self) -> tuple[int, int]:
        """Take out of the load what names a person erased since the last call: rows and rejects, as counts."""
        if self.stream not in STREAMS:
            return 0, 0
        tombstones = {id_hash for (id_hash,) in self.cursor.execute("select id_hash from ops.tombstones")}
        news = tombstones - self.seen
        self.seen |= news
        if not news:
            return 0, 0
        self.key = self.key or hash_key(self.cursor.connection)
        return self.refuse_rows(news), self.refuse_rejects(news)

    def refuse_rows(self, tombstones: set[str]) -> int:
        told = self.cursor.execute(
            f"select distinct unnest(array[{', '.join(IDS[self.stream])}]) from raw.{self.stream}"
            " where load_id = %s and received_at = %s",
            [self.load_id, self.received_at],
        )
        erased = [told_id for (told_id,) in told if told_id and self.is_among(tombstones, told_id)]
        if not erased:
            return 0
        self.ids.update(erased)
        row = self.cursor.execute(
            "select ops.refuse_rows(%s, %s, %s, %s)", [self.stream, self.load_id, self.received_at, erased]
        ).fetchone()
        return row[0]

    def refuse_rejects(self, tombstones: set[str]) -> int:
        found = []
        for reject_id, record in self.cursor.execute(
            "select reject_id, record from raw.rejects where load_id = %s", [self.load_id]
        ):
            for text in {*QUOTED.findall(record), *WORDS.findall(record)}:
                word = text.decode("utf-8", "replace").strip()
                for told in {word, word.lower()} if "@" in word else {word}:
                    if self.is_among(tombstones, told):
                        self.ids.add(told)
                        found.append(reject_id)
        if not found:
            return 0
        return self.cursor.execute("select ops.refuse_rejects(%s, %s)", [self.load_id, found]).fetchone()[0]

    def is_among(self, tombstones: set[str], told: Any) -> bool:
        return keyed_hash(self.key, told) in tombstones
