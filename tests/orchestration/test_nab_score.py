"""The benchmark's score on cases worked out by hand from its definition."""

from __future__ import annotations

import math

import pytest

from orchestration.nab_score import normalized, probation, scaled_sigmoid, score_of

WINDOW = (50, 59)
AT_HALF = 0.8482836399575129
"""2 / (1 + e^-2.5) - 1."""
AT_ONE = 0.9866142981514303
"""2 / (1 + e^-5) - 1."""


def points(*alarms: int, windows: tuple[tuple[int, int], ...] = (WINDOW,), rows: int = 100) -> float:
    return score_of(rows, windows, alarms).points


def test_the_sigmoid_at_the_places_the_paper_names():
    assert scaled_sigmoid(-1) == pytest.approx(AT_ONE)
    assert scaled_sigmoid(-0.5) == pytest.approx(AT_HALF)
    assert scaled_sigmoid(0) == 0
    assert scaled_sigmoid(1) == pytest.approx(-AT_ONE)
    assert scaled_sigmoid(3.01) == scaled_sigmoid(math.inf) == -1


def test_a_window_found_at_its_first_row_is_a_point_and_later_is_less():
    assert points(50) == pytest.approx(1)
    # Row 55 of 50 to 59: five of ten rows are left.
    assert points(55) == pytest.approx(AT_HALF / AT_ONE)
    assert points(55, 58, 59) == points(55)


def test_a_missed_window_is_a_point_lost():
    assert points() == -1
    assert points(windows=((50, 59), (80, 84))) == -2


def test_a_false_alarm_costs_most_where_no_window_is_near():
    assert points(50, 20) == pytest.approx(1 - 0.11)
    # Nine rows behind a window from 50 to 59: one width.
    assert points(50, 68) == pytest.approx(1 - 0.11 * AT_ONE)
    # More than three widths.
    assert points(50, 99) == pytest.approx(1 - 0.11)
    # The last window before it counts, not the next.
    assert points(20, 49, windows=((20, 24), (50, 59))) == pytest.approx(1 - 0.11 - 1)


def test_the_first_rows_are_not_judged():
    assert [probation(rows) for rows in (100, 4032, 5000, 20_000)] == [15, 604, 750, 750]
    assert points(14, 50) == points(50)
    assert points(15, 50) == pytest.approx(1 - 0.11)
    assert score_of(100, [WINDOW], [3, 14, 15, 50]).false_alarms == 1


def test_a_perfect_detector_has_100_and_a_silent_one_0():
    perfect, silent = score_of(100, [WINDOW], [50]), score_of(100, [WINDOW], [])
    quiet_series = score_of(100, [], [])
    assert normalized([perfect, perfect, quiet_series]) == pytest.approx(100)
    assert normalized([silent, silent]) == 0
    # (1 - 1 + 2) / 4
    assert normalized([perfect, silent]) == pytest.approx(50)
    # Found halfway and two false alarms where no window is near: (0.85979 - 0.22 + 1) / 2.
    assert normalized([score_of(100, [WINDOW], [20, 55]), score_of(100, [], [60])]) == pytest.approx(
        100 * (AT_HALF / AT_ONE - 0.22 + 1) / 2
    )
    with pytest.raises(ValueError, match="No series has a labelled window"):
        normalized([quiet_series])
