"""The work list names what the new loads bear on."""

import json

import pytest

from ingest.connection import connect
from ingest.load import load_file
from orchestration.work_list import link_groups, touch_groups

AT = "2026-03-02T11:00:00Z"
BATCH = {"batchId": "3f0c2a52-6a1e-4c8e-8f57-1d0c6f1f9a01", "startedAt": AT}
RECORDS = {
    "events": {"event": "clicked", "timestamp": AT},
    "llm_requests": {"model": "m", "requestId": "r1", "timestamp": AT},
    "session_batches": BATCH,
    "identifies": {"userId": "u2", "anonymousId": "v2", "timestamp": AT},
}


@pytest.mark.parametrize("stream", RECORDS)
def test_withheld_rows_and_streams_without_models_touch_nothing(fresh_database, tmp_path, stream):
    lines = [{**RECORDS[stream], "sessionId": "kept"}, {**RECORDS[stream], "sessionId": "private", "dnt": "1"}]
    files = {
        stream: lines,
        "costs": [{"amount": 1, "userId": "u1", "timestamp": AT}],
        "privacy_requests": [{"type": "erase", "userId": "u1", "requestedAt": AT}],
    }
    with connect(fresh_database, autocommit=True) as connection:
        for name, records in files.items():
            path = tmp_path / f"{name}.ndjson"
            path.write_text("\n".join(json.dumps(record) for record in records))
            loaded = load_file(connection, path)
            assert loaded.loaded == len(records)
        link_groups(connection, loaded.published_seq)
        assert touch_groups(connection, "prod", 0, loaded.published_seq) == 1
        touched = connection.execute("select distinct key from ops.touched where kind = 'session_group'").fetchall()
        assert touched == [("s:kept",)]
        linked = connection.execute("select distinct session_group from ops.group_links").fetchall()
        assert set(linked) <= {("s:kept",)}


def test_workspaces_are_named_themselves(fresh_database, tmp_path):
    """They belong to no session."""
    path = tmp_path / "workspaces.ndjson"
    path.write_text("\n".join(json.dumps({"id": name}) for name in ("w1", "w2")))
    with connect(fresh_database, autocommit=True) as connection:
        last = load_file(connection, path, stream="workspaces").published_seq
        touch_groups(connection, "prod", last - 1, last)
        touched = connection.execute("select kind, key from ops.touched order by 1, 2").fetchall()
    assert touched == [("workspace", "w1"), ("workspace", "w2")]


@pytest.mark.parametrize("names", [{"requestId": "r1"}, {"messageId": "m1"}])
def test_a_rating_touches_the_session_whose_server_row_tells_the_request(fresh_database, tmp_path, names):
    told = {"model": "m", "tokens": 1, "timestamp": AT, **names}
    rows = tmp_path / "session_batches.ndjson"
    rows.write_text(json.dumps({"batchId": BATCH["batchId"], "sessionId": "s1", "llmInteractions": [told]}))
    rating = tmp_path / "llm_requests.ndjson"
    rating.write_text(json.dumps({"type": "feedback", "rating": 1, "timestamp": AT, **names}))
    with connect(fresh_database, autocommit=True) as connection:
        seen = load_file(connection, rows).published_seq
        last = load_file(connection, rating).published_seq
        link_groups(connection, last)
        touch_groups(connection, "prod", seen, last)
        assert ("s:s1",) in connection.execute("select key from ops.touched").fetchall()
