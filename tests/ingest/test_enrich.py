"""The tables of user agents and locations: what enters them when, and which marts hear of it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from ingest.connection import Server, connect
from ingest.enrich import IP_LOCATIONS, USER_AGENTS, Outcome, Source, enrich, newest_load, open_sources
from ingest.geoip import VARIABLE, Location, LocationReader
from ingest.load import load_file
from ingest.user_agents import Agent
from tests.ingest.mmdb import place, write_mmdb

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"
CURL = "curl/8.5.0"


class Loader:
    """Loads events into a database and enriches them by sources a test names."""

    def __init__(self, connection: psycopg.Connection, folder: Path) -> None:
        self.connection = connection
        self.folder = folder
        self.files = 0
        self.read: list[str] = []

    def load(self, *events: dict[str, str]) -> None:
        """One file of events; each has an event id of its own unless it names one."""
        self.files += 1
        told = {"event_name": "clicked", "timestamp": "2026-03-01T10:00:00Z"}
        lines = [told | {"event_id": f"e{self.files}-{n}"} | event for n, event in enumerate(events)]
        path = self.folder / f"events-{self.files}.ndjson"
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        load_file(self.connection, path)
        self.connection.commit()

    def agents(self, version: str = "1", **more) -> Outcome:
        """Enrich user agents: every string is a browser of that name."""

        def read(text: str) -> Agent:
            self.read.append(text)
            return more.get("browsers", {}).get(text, Agent(browser_name=text[:50]))

        return self.enrich({USER_AGENTS: Source(version, read)}, **more)[0]

    def locations(self, version: str | None = "1", country: str | None = "NO", **more) -> Outcome:
        """Enrich locations: every network lies in that country."""
        source = Source(version, lambda network: Location(country)) if version else None
        return self.enrich({IP_LOCATIONS: source}, **more)[0]

    def enrich(self, sources, *, target: str | None = None, rebuild: bool = False, **_) -> list[Outcome]:
        outcomes = enrich(self.connection, sources, newest_load(self.connection), target=target, rebuild=rebuild)
        self.connection.commit()
        return outcomes

    def rows(self, statement: str, *parameters: object) -> list[tuple]:
        found = self.connection.execute(statement, parameters).fetchall()
        self.connection.commit()
        return found

    def built(self, target: str, to: int | None = None) -> None:
        """Say that a target's marts hold every load so far, or up to one."""
        to = newest_load(self.connection) if to is None else to
        self.connection.execute(
            "insert into ops.bounds (target, completed_seq, to_seq) values (%s, %s, %s) on conflict (target) do update "
            "set completed_seq = excluded.completed_seq, to_seq = excluded.to_seq",
            [target, to, to],
        )
        self.connection.commit()

    def touched(self) -> set[tuple[str, str]]:
        """(target, session group) of the work lists."""
        return set(self.rows("select target, key from ops.touched where kind = 'session_group'"))


@pytest.fixture
def loader(fresh_database: Server, tmp_path: Path):
    with contextlib.closing(connect(fresh_database)) as connection:
        yield Loader(connection, tmp_path)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.112.0/20", "203.0.112.0/20"),
        ("2001:db8:1:2::7", "2001:db8:1::/48"),
        ("2001:db8:1::/48", "2001:db8:1::/48"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        (None, None),
    ],
)
def test_the_network_of_an_address_and_of_its_truncated_form(connection, address, network):
    assert connection.execute("select ops.ip_network(%s::inet)::text", [address]).fetchone() == (network,)


def test_the_key_of_an_agent_is_of_what_is_read_of_it(connection):
    same, other, none = connection.execute(
        """
        select
            ops.user_agent_key(repeat('x', 1000) || 'a') = ops.user_agent_key(repeat('x', 1000) || 'b'),
            ops.user_agent_key(repeat('x', 999) || 'a') = ops.user_agent_key(repeat('x', 999) || 'b'),
            ops.user_agent_key(null)
        """
    ).fetchone()
    assert (same, other, none) == (True, False, None)


def test_each_distinct_agent_is_read_once_ever(loader):
    loader.load({"user_agent": "A"}, {"user_agent": "B"}, {"user_agent": "A"}, {})
    assert loader.agents() == Outcome("user_agents", "1", looked_up=2, changed=2)
    loader.load({"user_agent": "B"}, {"user_agent": "C"})
    assert loader.agents() == Outcome("user_agents", "1", looked_up=1, changed=1)
    assert loader.agents() == Outcome("user_agents", "1")
    assert sorted(loader.read) == ["A", "B", "C"]
    assert loader.rows("select user_agent, browser_name, is_bot, version from ops.user_agents order by 1") == [
        ("A", "A", False, "1"), ("B", "B", False, "1"), ("C", "C", False, "1"),
    ]  # fmt: skip


def test_absurd_agents_are_kept_short_and_fail_nothing(loader):
    long = "x" * 100_000
    loader.load(
        {"user_agent": long}, {"user_agent": long + "y"}, {"user_agent": "\x01\x7f\\N\t'\"🙂"}, {"user_agent": " "}
    )
    sources = {USER_AGENTS: open_sources()[USER_AGENTS]}
    assert loader.enrich(sources)[0].looked_up == 3
    assert loader.rows("select max(length(user_agent)), count(*) from ops.user_agents") == [(1000, 3)]


def test_the_real_sources_fill_what_the_models_read(loader, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(write_mmdb(tmp_path / "places.mmdb", {"203.0.113.0/24": place("NO", "Oslo")})))
    loader.load({"user_agent": FIREFOX, "ip_address": "203.0.113.7"}, {"user_agent": CURL, "ip_address": "203.0.113.8"})
    loader.load({"ip_address": "2001:db8::1"})
    assert [outcome.looked_up for outcome in loader.enrich(open_sources())] == [2, 2]
    assert loader.rows(
        "select device_type, browser_name, browser_version, os_name, is_bot from ops.user_agents order by 1"
    ) == [("bot", "curl", "8.5.0", None, True), ("desktop", "Firefox", "131.0", "Linux", False)]
    assert loader.rows("select ip_network::text, country_code, city from ops.ip_locations order by 1") == [
        ("2001:db8::/48", None, None), ("203.0.113.0/24", "NO", "Oslo"),
    ]  # fmt: skip


def test_no_table_holds_an_address(loader):
    loader.load({"ip_address": "203.0.113.7"}, {"ip_address": "2001:db8:1:2::7"})
    loader.locations()
    assert loader.rows("select family(ip_network), masklen(ip_network) from ops.ip_locations order by 1") == [
        (4, 24),
        (6, 48),
    ]


def test_better_rules_are_noticed_and_only_what_they_change_reaches_the_marts(loader):
    loader.load({"user_agent": "A", "session_id": "a"}, {"user_agent": "B", "session_id": "b"}, {"session_id": "c"})
    loader.agents()
    loader.built("prod")
    loader.built("dev_ann")
    outcome = loader.agents("2", target="prod", browsers={"B": Agent(browser_name="Better")})
    assert outcome == Outcome("user_agents", "2", looked_up=2, changed=1, touched=2)
    assert loader.touched() == {("prod", "s:b"), ("dev_ann", "s:b")}
    assert loader.rows("select user_agent, browser_name, version from ops.user_agents order by 1") == [
        ("A", "A", "2"), ("B", "Better", "2"),
    ]  # fmt: skip
    assert loader.agents("2", target="prod") == Outcome("user_agents", "2")


def test_new_loads_alone_touch_nothing_here(loader):
    # Their session groups are on the work list for being new.
    loader.load({"user_agent": "A", "session_id": "a"})
    loader.agents(target="prod")
    loader.built("prod")
    loader.load({"user_agent": "B", "session_id": "b"})
    assert loader.agents(target="prod").changed == 1
    assert loader.touched() == set()


def test_a_database_configured_late_reaches_what_is_built_already(loader):
    loader.load({"ip_address": "203.0.113.7", "session_id": "a"}, {"session_id": "b"})
    assert loader.locations(None) == Outcome("ip_locations")
    loader.built("prod")
    loader.load({"ip_address": "198.51.100.7", "session_id": "c"})
    assert loader.locations(target="prod") == Outcome("ip_locations", "1", looked_up=2, changed=2, touched=1)
    assert loader.touched() == {("prod", "s:a")}


def test_networks_the_database_does_not_know_touch_nothing(loader):
    loader.load({"ip_address": "203.0.113.7", "session_id": "a"})
    loader.built("prod")
    assert loader.locations(country=None, target="prod") == Outcome("ip_locations", "1", looked_up=1)
    assert loader.touched() == set()


def test_without_a_database_locations_stay_and_what_came_meanwhile_is_caught_up(loader):
    loader.load({"ip_address": "203.0.113.7", "session_id": "a"})
    loader.locations()
    loader.load({"ip_address": "198.51.100.7", "session_id": "b"})
    loader.locations(None)
    loader.built("prod")
    assert loader.rows("select ip_network::text from ops.ip_locations") == [("203.0.113.0/24",)]
    assert loader.locations(target="prod") == Outcome("ip_locations", "1", looked_up=1, changed=1, touched=1)
    assert loader.touched() == {("prod", "s:b")}


def test_a_rebuild_reads_raw_again_and_forgets_what_raw_no_longer_tells(loader):
    loader.load({"user_agent": "A", "session_id": "a"}, {"user_agent": "B", "session_id": "b"})
    loader.agents()
    loader.built("prod")
    loader.connection.execute("delete from raw.events where user_agent = 'B'")
    loader.connection.execute("update ops.user_agents set browser_name = 'damaged'")
    assert loader.agents(rebuild=True).looked_up == 1
    assert loader.rows("select user_agent, browser_name from ops.user_agents") == [("A", "A")]
    assert loader.touched() == {("prod", "s:a")}


def test_a_rebuild_without_a_database_empties_the_locations(loader):
    loader.load({"ip_address": "203.0.113.7", "session_id": "a"})
    loader.locations()
    loader.built("prod")
    assert loader.locations(None, rebuild=True) == Outcome("ip_locations", changed=1, touched=1)
    assert loader.rows("select count(*) from ops.ip_locations") == [(0,)]
    assert loader.touched() == {("prod", "s:a")}
    assert loader.locations(target="prod").looked_up == 1


@contextlib.contextmanager
def building(server: Server, target: str):
    """Another process that builds a target."""
    with contextlib.closing(connect(server, autocommit=True)) as other:
        other.execute("select pg_advisory_lock(hashtext('tidemark.refresh'), hashtext(%s))", [target])
        yield


def test_what_another_build_must_not_see_waits_for_its_end(loader, fresh_database):
    loader.load({"user_agent": "A", "session_id": "a"})
    loader.agents()
    loader.built("prod")
    loader.built("dev_ann")
    with building(fresh_database, "dev_ann"):
        loader.load({"user_agent": "B", "session_id": "b"})
        # What is new harms no other build: it reads no load so late.
        outcome = loader.agents("2", target="prod", browsers={"A": Agent(browser_name="Better")})
        assert outcome == Outcome("user_agents", "2", looked_up=1, changed=1, postponed=True)
        assert loader.agents("2", rebuild=True).postponed
        assert loader.rows("select user_agent, browser_name, version from ops.user_agents order by 1") == [
            ("A", "A", "1"), ("B", "B", "2"),
        ]  # fmt: skip
        assert loader.touched() == set()
    # A refresh holds the lock of the target it is for.
    with building(fresh_database, "prod"):
        outcome = loader.agents("2", target="prod", browsers={"A": Agent(browser_name="Better")})
    assert outcome == Outcome("user_agents", "2", looked_up=1, changed=1, touched=2)
    assert loader.touched() == {("prod", "s:a"), ("dev_ann", "s:a")}


def test_a_build_that_began_without_a_database_sees_no_location_come(loader, fresh_database):
    loader.load({"ip_address": "203.0.113.7", "session_id": "a"})
    loader.built("dev_ann", to=0)
    loader.connection.execute("update ops.bounds set to_seq = 1")
    loader.connection.commit()
    with building(fresh_database, "dev_ann"):
        assert loader.locations(target="prod") == Outcome("ip_locations", "1", postponed=True)
        assert loader.rows("select count(*) from ops.ip_locations") == [(0,)]
    loader.built("dev_ann")
    assert loader.locations(target="prod").touched == 1
    assert loader.touched() == {("dev_ann", "s:a")}


def test_two_at_once_read_each_agent_once(loader, fresh_database, tmp_path):
    loader.load(*({"user_agent": f"agent {n}"} for n in range(300)))
    outcomes: list[Outcome] = []

    def run() -> None:
        with contextlib.closing(connect(fresh_database)) as connection:
            mine = Loader(connection, tmp_path)
            outcomes.append(mine.agents())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.looked_up for outcome in outcomes) == [0, 0, 0, 300]
    assert loader.rows("select count(*), max(published_seq) from ops.user_agents, ops.enrichment") == [(600, 1)]


def test_a_failure_in_the_middle_leaves_everything_as_it_was(loader):
    loader.load({"user_agent": "A"})
    loader.agents()
    loader.load(*({"user_agent": f"agent {n:05}"} for n in range(6000)))

    def read(text: str) -> Agent:
        if text == "agent 05999":
            raise RuntimeError("no more")
        return Agent(browser_name=text)

    with pytest.raises(RuntimeError):
        loader.enrich({USER_AGENTS: Source("2", read)})
    loader.connection.rollback()
    assert loader.rows("select count(*), max(version) from ops.user_agents") == [(1, "1")]
    assert loader.agents("2").looked_up == 6001


def test_the_command(run_ingest: Callable, fresh_database: Server, loader, tmp_path):
    loader.load({"user_agent": FIREFOX, "ip_address": "203.0.113.7"})
    without = {VARIABLE: None}
    done = run_ingest("enrich", server=fresh_database, environment=without)
    assert (done.returncode, done.stderr) == (0, "")
    agents, locations = done.stdout.splitlines()
    assert agents.startswith("user_agents: 1 looked up, 1 new or changed, by ua-parser-builtins ")
    assert locations == f"ip_locations: left as they are, {VARIABLE} names no database"

    database = write_mmdb(tmp_path / "places.mmdb", {"203.0.113.0/24": place("NO")})
    done = run_ingest("enrich", "--rebuild", server=fresh_database, environment={VARIABLE: str(database)})
    version = LocationReader(database).version
    assert done.stdout.splitlines()[1] == f"ip_locations: 1 looked up, 1 new or changed, by {version}"

    done = run_ingest("enrich", "--rebuild", server=fresh_database, environment=without)
    assert done.stdout.splitlines()[1] == "ip_locations: 0 looked up, 1 new or changed, by nothing"

    loader.built("prod")
    with building(fresh_database, "prod"):
        done = run_ingest("enrich", "--rebuild", server=fresh_database, environment=without)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "Error: A refresh is running, user_agents and ip_locations must wait: run this again when it has ended."
    ]
    done = run_ingest("enrich", server=fresh_database, environment={VARIABLE: str(tmp_path / "missing.mmdb")})
    assert done.returncode == 2
    assert "missing.mmdb cannot be read" in done.stderr


def test_the_command_before_the_first_migration(run_ingest: Callable, empty_database: Server):
    done = run_ingest("enrich", server=empty_database)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: The schema raw is not there yet: run `python -m ingest migrate` first.\n"
