"""The score of the Numenta Anomaly Benchmark, standard profile, from its published definition.

A. Lavin and S. Ahmad, "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly Benchmark" (2015). What
is found counts by how early in its window, a false alarm by how far it is behind the last window, a missed window -1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

FALSE_ALARM_WEIGHT = 0.11
"""The standard profile; something found weighs 1, a window missed 1."""

PROBATION_SHARE, PROBATION_MOST = 0.15, 750
"""The first rows of a series, which are not judged: a share, and at most so many."""

Window = tuple[int, int]
"""First and last row of a labelled window, both of them included."""


@dataclass(frozen=True)
class Score:
    """What a detector did on one series."""

    windows: int
    found: int
    false_alarms: int
    rows_judged: int
    points: float


def scaled_sigmoid(position: float) -> float:
    """What a detection is worth at a position relative to its window: -1 is its left edge, 0 its right one."""
    return -1.0 if position > 3 else 2 / (1 + math.exp(5 * position)) - 1


def probation(rows: int) -> int:
    """How many rows at the start of a series are not judged."""
    return min(math.floor(PROBATION_SHARE * rows), PROBATION_MOST)


def score_of(rows: int, windows: Sequence[Window], alarms: Collection[int]) -> Score:
    """Score the alarms, places of rows from 0, on a series of so many rows with its windows in their order."""
    first_judged = probation(rows)
    judged = sorted(alarm for alarm in set(alarms) if alarm >= first_judged)
    earliest: dict[Window, int] = {}
    points, false_alarms = 0.0, 0
    for alarm in judged:
        window = next(((first, last) for first, last in windows if first <= alarm <= last), None)
        if window is None:
            false_alarms += 1
            points += FALSE_ALARM_WEIGHT * scaled_sigmoid(_behind(alarm, windows))
        else:
            earliest.setdefault(window, alarm)
    for first, last in windows:
        if (first, last) in earliest:
            position = -(last - earliest[first, last] + 1) / (last - first + 1)
            points += scaled_sigmoid(position) / scaled_sigmoid(-1)
        elif last >= first_judged:
            points -= 1
    return Score(len(windows), len(earliest), false_alarms, rows - first_judged, points)


def _behind(alarm: int, windows: Sequence[Window]) -> float:
    """How far a false alarm is behind the last window before it, in widths of that window."""
    before = [window for window in windows if window[1] < alarm]
    if not before:
        return math.inf
    first, last = before[-1]
    return (alarm - last) / (last - first) if last > first else math.inf


def normalized(scores: Iterable[Score]) -> float:
    """The score of a whole benchmark: 100 is every window found at its first row, 0 is no alarm at all.

    Raises:
        ValueError: no series has a window.
    """
    listed = list(scores)
    windows = sum(score.windows for score in listed)
    if windows == 0:
        raise ValueError("No series has a labelled window: there is nothing to score.")
    return 100 * (sum(score.points for score in listed) + windows) / (2 * windows)
