"""Where networks lie, by databases in MaxMind's format."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.errors import TidemarkError
from ingest.geoip import VARIABLE, Location, LocationReader, location_reader
from tests.ingest.mmdb import place, write_mmdb

NETWORKS = {
    "203.0.113.0/24": place("NO", "Oslo"),
    "198.51.100.0/25": place("PE"),
    "2001:db8:1::/48": place("DE", "Köln"),
    "192.0.2.0/24": {"registered_country": {"iso_code": "FR"}},
    "192.0.3.0/24": {"country": "FR", "city": ["Paris"]},
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return write_mmdb(tmp_path / "places.mmdb", NETWORKS)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("203.0.113.0/24", Location("NO", "Oslo")),
        ("198.51.100.0/24", Location("PE", None)),
        ("2001:db8:1::/48", Location("DE", "Köln")),
        ("2001:db8:2::/48", Location()),
        ("10.0.0.0/24", Location()),
        # where the owner of a network is registered is not where it is
        ("192.0.2.0/24", Location()),
        # a record of another layout tells nothing
        ("192.0.3.0/24", Location()),
    ],
)
def test_the_first_address_of_a_network_is_looked_up(database, network, expected):
    assert LocationReader(database).read(network) == expected


def test_the_version_names_kind_day_and_content(database, tmp_path):
    version = LocationReader(database).version
    assert version.startswith("Test-City 2026-01-01, ")
    other = write_mmdb(tmp_path / "other.mmdb", {"203.0.113.0/24": place("SE")})
    assert LocationReader(other).version.startswith("Test-City 2026-01-01, ")
    assert LocationReader(other).version != version


def test_no_database_is_no_reader_and_one_that_cannot_be_read_is_named(database, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert location_reader() is None
    monkeypatch.setenv(VARIABLE, str(database))
    assert location_reader().read("203.0.113.0/24") == Location("NO", "Oslo")
    (tmp_path / "text.mmdb").write_text("no database")
    (tmp_path / "empty.mmdb").touch()
    for broken in ("text.mmdb", "empty.mmdb", "missing.mmdb", "."):
        monkeypatch.setenv(VARIABLE, str(tmp_path / broken))
        with pytest.raises(TidemarkError, match=f"^{VARIABLE}: .*{broken}.* cannot be read .*unset it") as error:
            location_reader()
        assert "\n" not in str(error.value)


def test_a_damaged_database_is_named_when_it_is_found_out(database):
    content = database.read_bytes()
    # The last third of the data: keys and values of records, no tree, no metadata.
    start, end = content.index(b"registered") - 4, content.index(b"\xab\xcd\xefMaxMind")
    database.write_bytes(content[:start] + b"\xff" * (end - start) + content[end:])
    with pytest.raises(TidemarkError, match="is damaged"):
        LocationReader(database).read("192.0.2.0/24")
