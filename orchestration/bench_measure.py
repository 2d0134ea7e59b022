"""What the bench measures by: a row of its table, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One row of the bench. `goal` and `aim` are bounds in `unit`: upper ones if `at_most`, which all are but
    those of ratios, unless told."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    aim: float | None = None
    at_most: bool | None = None

    @property
    def holds(self) -> bool | None:
        if self.goal is None:
            return None
        at_most = self.unit != "ratio" if self.at_most is None else self.at_most
        return self.value <= self.goal if at_most else self.value >= self.goal

    def as_row(self) -> dict[str, str | float | bool | None]:
        """What bench.json says of it."""
        return {name: getattr(self, name) for name in ("name", "value", "unit", "goal", "aim", "holds")}


def best_of_turns(works: Sequence[Callable[[], object]], runs: int, before: Callable[[], object]) -> list[float]:
    """The shortest wall-clock seconds of each of several calls in so many turns; `before` each, something untimed."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(runs):
        for work, taken in zip(works, seconds, strict=True):
            before()
            taken.append(timed(work))
    return list(map(min, seconds))


def timed(work: Callable[[], object]) -> float:
    """Wall-clock seconds of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
