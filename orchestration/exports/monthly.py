"""The marts of the monthly export: the seed monthly_exports."""

from __future__ import annotations

from pathlib import Path

from orchestration.seeds import FOLDER, rows_of

SEED = FOLDER / "monthly_exports.csv"


def monthly_marts(seed: Path = SEED) -> list[str]:
    """Their names, as the seed says.

    Raises:
        TidemarkError: the seed cannot be read, or is another table.
    """
    return [row["mart"] for _, row in rows_of(seed, ["mart"])]
