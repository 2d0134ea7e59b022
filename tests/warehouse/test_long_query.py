"""Somebody reads a mart for hours: a refresh gives up in time, and nobody waits behind it."""

from __future__ import annotations

import contextlib
import json

import pytest

from ingest.connection import connect
from ingest.errors import TidemarkError


def test_a_mart_read_for_hours_holds_up_neither_refreshes_nor_readers(make_warehouse, monkeypatch):
    warehouse = make_warehouse()
    event = {"eventName": "clicked", "anonymousId": "a", "timestamp": "2026-03-01T10:00:00Z"}
    warehouse.load("events", [json.dumps(event).encode()])
    warehouse.refresh()
    warehouse.load("events", [json.dumps(event | {"timestamp": "2026-03-02T10:00:00Z"}).encode()])
    monkeypatch.setenv("TIDEMARK_LOCK_TIMEOUT", "300ms")
    with contextlib.closing(connect(warehouse.server)) as reading:
        # A table that every refresh makes anew.
        assert reading.execute("select count(*) from marts.fct_anomalies").fetchone() is not None
        with pytest.raises(TidemarkError, match=r"models failed \(.*fct_anomalies.*the work list is kept"):
            warehouse.refresh()
        # Nobody waits for a lock, and others still read it.
        assert warehouse.query(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ) == [(0,)]
        assert warehouse.query("select count(*) from marts.fct_anomalies") is not None
        assert warehouse.query("select completed_seq from ops.bounds") == [(1,)]
    warehouse.refresh()
    assert warehouse.query("select completed_seq from ops.bounds") == [(2,)]
    assert warehouse.query("select count(*) from marts.fct_events") == [(2,)]
