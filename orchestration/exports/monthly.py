"""The marts of the monthly export: the seed monthly_exports."""

from __future__ import annotations

import csv
from pathlib import Path

from ingest.errors import TidemarkError

SEED = Path(__file__).resolve().parents[2] / "seeds" / "monthly_exports.csv"


def monthly_marts(seed: Path = SEED) -> list[str]:
    """Their names, as the seed says.

    Raises:
        TidemarkError: the seed cannot be read.
    """
    try:
        with seed.open(encoding="utf-8", newline="") as file:
            return [row["mart"] for row in csv.DictReader(file, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise TidemarkError(f"seeds/{seed.name} cannot be read ({error}): mend it.") from error
