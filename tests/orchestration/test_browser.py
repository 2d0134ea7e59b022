"""The UI in a browser: a refresh is launched from the launchpad, and the marts have the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.connection import Server, connect
from orchestration.dev import free_port
from tests.browser import Browser, browser

PROJECT = Path(__file__).resolve().parents[2]
DEV = "import sys; from orchestration.dev import dev; sys.exit(dev(int(sys.argv[1]), sys.argv[2]))"
LAUNCH = "//button[not(@disabled)][contains(., 'Launch Run')]"
# As many as a first refresh on a busy machine may take.
RUN_SECONDS = 600

pytestmark = pytest.mark.browser


@pytest.fixture
def window() -> Iterator[Browser]:
    """A window of Chromium. Where it is not installed the test is skipped, but not in CI."""
    try:
        with browser() as opened:
            yield opened
    except FileNotFoundError as missing:
        if os.environ.get("TIDEMARK_BROWSER") == "required":
            raise
        pytest.skip(f"not installed: {missing}")


@pytest.fixture
def ui(fresh_database: Server, tmp_path: Path) -> Iterator[tuple[str, Server]]:
    """The address of the UI of an empty warehouse in whose inbox a file lies."""
    times = ("12:00", "12:05", "15:00")
    lines = [
        {"eventId": f"e{number}", "eventName": "clicked", "appId": "shop", "anonymousId": "a",
         "timestamp": f"2026-03-02T{time}:00Z"}
        for number, time in enumerate(times)
    ]  # fmt: skip
    file = tmp_path / "events-1.ndjson"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(file, (1, 1))
    port = free_port(None)
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    process = subprocess.Popen(
        [sys.executable, "-c", DEV, str(port), fresh_database.database],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        env=environment | fresh_database.environment() | {"TIDEMARK_INBOX": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Dagster is at ")
        yield f"http://127.0.0.1:{port}", fresh_database
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_a_refresh_is_launched_from_the_launchpad(window: Browser, ui: tuple[str, Server]) -> None:
    address, server = ui
    window.open(f"{address}/locations")
    window.wait_for_text("Loaded")

    # Its configuration stands in the launchpad with the defaults.
    window.open(f"{address}/locations/tidemark/jobs/refresh/playground")
    for shown in ("settle_seconds", "full_refresh", "No errors"):
        window.wait_for_text(shown)

    window.click(LAUNCH)
    window.wait_for(lambda: "/runs/" in window.call("GET", "/url"), "the page of the run")
    window.wait_for(lambda: "Success" in window.text() or "Failure" in window.text(), "the end of the run", RUN_SECONDS)
    assert "Failure" not in window.text(), window.text()[:3000]

    with connect(server, autocommit=True) as connection:
        # Two events five minutes apart are one visit, the third, hours later, is another.
        assert connection.execute("select count(*) from marts.fct_events").fetchone() == (3,)
        assert connection.execute(
            "select event_count, duration_seconds::integer from marts.fct_sessions order by started_at"
        ).fetchall() == [(2, 300), (1, 0)]
        assert connection.execute("select completed_seq from ops.bounds where target = 'prod'").fetchone() == (1,)

    # What a mart is can be read there: its grain, its columns, who answers for it.
    window.open(f"{address}/assets/marts/fct_sessions?view=overview")
    for shown in ("One row per visit", "session_key", "analytics"):
        window.wait_for_text(shown)
