"""Where a network lies, by a database in MaxMind's format that the user supplies."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ingest.errors import TidemarkError

VARIABLE = "TIDEMARK_GEOIP_DATABASE"


@dataclass(frozen=True)
class Location:
    """ISO 3166 country code and the city's English name; None is: the database does not say."""

    country_code: str | None = None
    city: str | None = None


class LocationReader:
    """Looks networks up in a .mmdb file, which is read into memory: replacing the file meanwhile does no harm.

    `version` names its content.

    Raises:
        TidemarkError: maxminddb is not installed, or the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            import maxminddb
        except ImportError:
            raise TidemarkError(
                f"{VARIABLE} is set and maxminddb is not installed: `pip install maxminddb`, or unset it."
            ) from None
        try:
            checksum = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
            self.reader = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise TidemarkError(f"{VARIABLE}: {path} cannot be read ({error}): mend the file, or unset it.") from None
        self.damage = (ValueError, maxminddb.InvalidDatabaseError)
        self.path = path
        about = self.reader.metadata()
        built = datetime.fromtimestamp(about.build_epoch, timezone.utc)
        self.version = f"{about.database_type} {built:%Y-%m-%d}, {checksum}"

    def read(self, network: str) -> Location:
        """Where the first address of a network lies.

        Raises:
            TidemarkError: the database is damaged.
        """
        address = network.partition("/")[0]
        if ":" in address and self.reader.metadata().ip_version == 4:
            return Location()
        try:
            found = self.reader.get(address)
        except self.damage as error:
            raise TidemarkError(f"{VARIABLE}: {self.path} is damaged ({error}): fetch it again, or unset it.") from None
        country_code, city = text_at(found, "country", "iso_code"), text_at(found, "city", "names", "en")
        return Location(country_code, city)


def location_reader() -> LocationReader | None:
    """A reader of the database that the environment names, None where it names none.

    Raises:
        TidemarkError: it names one that cannot be read.
    """
    path = os.environ.get("TIDEMARK_GEOIP_DATABASE")
    return LocationReader(Path(path).expanduser()) if path else None


def text_at(record: Any, *keys: str) -> str | None:
    """The text under nested keys of a record, None where there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record if isinstance(record, str) and record else None
