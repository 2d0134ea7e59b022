"""How long an event is kept: its retention class, by the seed `retention_classes`."""

import csv
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from ingest.errors import TidemarkError

SEED = Path(__file__).resolve().parents[2] / "seeds" / "retention_classes.csv"
CLASSES = frozenset(("analytics", "audit", "security", "performance"))
DEFAULT_CLASS = "analytics"


def read_rules(seed: Path = SEED) -> tuple[tuple[str, str, str], ...]:
    """The seed's rules in order: (category pattern, name pattern, class); `*` stands for any text, an absent
    category included. TidemarkError when the seed is missing or names a class that raw does not have."""
    try:
        with seed.open(newline="", encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: int(row["rule_order"]))
        rules = tuple((row["event_category"], row["event_name"], row["retention_class"]) for row in rows)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise TidemarkError(f"cannot read the retention rules in {seed} ({error}): restore that file") from None
    for _, _, retention_class in rules:
        if retention_class not in CLASSES:
            raise TidemarkError(
                f"{seed}: unknown retention class {retention_class!r}; use one of {', '.join(sorted(CLASSES))}"
            )
    return rules


def classifier(seed: Path = SEED) -> Callable[[str, str], str]:
    """A function of (category, name) giving the class of the first rule that matches both."""
    rules = read_rules(seed)

    @lru_cache(maxsize=4096)
    def retention_class(category: str, name: str) -> str:
        for category_pattern, name_pattern, found in rules:
            if fnmatchcase(category, category_pattern) and fnmatchcase(name, name_pattern):
                return found
        return DEFAULT_CLASS

    return retention_class
