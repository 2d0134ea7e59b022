"""What was looked up reaches the marts: new, better, or known late, they equal one full build."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.geoip import VARIABLE
from ingest.user_agents import SEEDS, AgentReader
from tests.ingest.mmdb import place, write_mmdb
from tests.warehouse.conftest import Warehouse, assert_same

WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
IPAD = (
    "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1"
)
ACME = "AcmeProbe/3.1"
TOLD = {
    "device_type": "mobile",
    "browser_name": "Told",
    "browser_version": "1",
    "os_name": "Told OS",
    "os_version": "2",
}
PLACE = {"country_code": "SE", "city": "Lund"}


def event(number: int, session: str, **told: str) -> bytes:
    record = {"event_id": f"e{number}", "event_name": "clicked", "session_id": session, "app_id": "shop"}
    return json.dumps(record | {"timestamp": f"2026-03-02T10:{number:02}:00Z"} | told).encode()


FIRST = [
    event(1, "a", user_agent=WINDOWS, ip_address="203.0.113.7", **TOLD, **PLACE),
    event(2, "b", **TOLD, **PLACE),
    event(3, "c", user_agent=ACME, ip_address="198.51.100.7", **TOLD, **PLACE),
    event(4, "c", user_agent=IPAD, ip_address="203.0.113.9"),
    # signs in: what was anonymous becomes the user's
    event(5, "d", user_agent=ACME, anonymous_id="a1"),
]
SECOND = [event(6, "a", user_agent=IPAD), event(7, "e", user_agent=ACME, anonymous_id="a1", user_id="u1")]


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def better_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on AcmeProbe is a bot."""

    def better() -> None:
        for seed in SEEDS.glob("*.csv"):
            (tmp_path / seed.name).write_text(seed.read_text(encoding="utf-8"), encoding="utf-8")
        with (tmp_path / "bot_agents.csv").open("a", encoding="utf-8") as file:
            file.write("acmeprobe,true,monitoring\n")
        monkeypatch.setattr("ingest.enrich.AgentReader", lambda: AgentReader(tmp_path))

    return better


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on there is a location database."""

    def configure() -> None:
        path = write_mmdb(tmp_path / "places.mmdb", {"203.0.113.0/24": place("NO", "Oslo")})
        monkeypatch.setenv(VARIABLE, str(path))

    return configure


def sessions(warehouse: Warehouse, *columns: str) -> list[tuple]:
    return warehouse.query(
        f"select substr(session_group, 3), {', '.join(columns)} from marts.fct_sessions order by session_group"
    )


def test_rules_that_improve_and_a_database_that_comes_reach_marts_as_if_always_there(
    make_warehouse: Callable[[], Warehouse], better_rules, places
):
    piecewise, at_once = make_warehouse(), make_warehouse()
    piecewise.load("events", FIRST)
    piecewise.refresh()
    client = (
        "device_type",
        "browser_name",
        "browser_version",
        "os_name",
        "os_version",
        "is_bot",
        "country_code",
        "city",
    )
    assert sessions(piecewise, *client) == [
        ("a", "desktop", "Chrome", "130.0.0.0", "Windows", "10", False, "SE", "Lund"),
        ("b", "mobile", "Told", "1", "Told OS", "2", False, "SE", "Lund"),
        # nothing is known of AcmeProbe yet: what the producer told stands
        ("c", "mobile", "Told", "1", "Told OS", "2", False, "SE", "Lund"),
        ("d", None, None, None, None, None, False, None, None),
    ]

    better_rules()
    places()
    piecewise.load("events", SECOND)
    run = piecewise.refresh()
    # c and d for AcmeProbe, a and c for where they are, a and e for what is new; never b.
    assert (run.touched_groups, run.rebuilt) == (4, [])
    # the network of c's first address is not in the database, so its producer is believed
    assert sessions(piecewise, "device_type", "is_bot", "country_code", "city") == [
        ("a", "desktop", False, "NO", "Oslo"),
        ("b", "mobile", False, "SE", "Lund"),
        ("c", "bot", True, "SE", "Lund"),
        ("d", "bot", True, None, None),
        ("e", "bot", True, None, None),
    ]
    bots = piecewise.query("select event_id from marts.fct_events where is_bot order by event_id")
    assert bots == [("e3",), ("e5",), ("e7",)]
    assert piecewise.query("select country_code, city from marts.fct_events where event_id = 'e4'") == [("NO", "Oslo")]
    # bots are counted as visits, and as no person's device
    days = piecewise.query("select total_sessions, desktop_sessions, mobile_sessions from marts.agg_daily_stats")
    assert days == [(5, 1, 1)]

    at_once.load("events", [*FIRST, *SECOND])
    at_once.refresh()
    assert_same(at_once.contents(), piecewise.contents())


def test_a_database_that_cannot_be_read_is_refused_before_anything_is_done(
    make_warehouse: Callable[[], Warehouse], monkeypatch: pytest.MonkeyPatch
):
    from ingest.errors import TidemarkError

    warehouse = make_warehouse()
    monkeypatch.setenv(VARIABLE, "missing.mmdb")
    with pytest.raises(TidemarkError, match=f"{VARIABLE}: missing.mmdb cannot be read"):
        warehouse.refresh()
    assert warehouse.query("select count(*) from ops.refreshes") == [(0,)]
