"""What the bench says of its measures, and the process it loads in."""

import json

import pytest

from ingest.connection import connect
from orchestration.bench import load_in, loading_process, repeat_lines
from orchestration.bench_measure import Measure


@pytest.mark.parametrize(
    ("unit", "value", "at_most", "holds"),
    [
        ("ratio", 0.9, None, False),
        ("ratio", 1.0, None, True),
        ("ratio", 1.1, None, True),
        ("ratio", 0.9, True, True),
        ("ratio", 1.1, True, False),
        ("s", 0.9, None, True),
        ("MB", 1.1, None, False),
        ("rows/s", 1.1, False, True),
    ],
)
def test_a_goal_is_a_lower_bound_for_ratios_and_an_upper_one_else_unless_told(unit, value, at_most, holds):
    measure = Measure("name", value, unit, 1.0, at_most=at_most)
    assert measure.holds is holds
    assert measure.as_row() == {
        "name": "name", "value": value, "unit": unit, "goal": 1.0, "aim": None, "holds": holds,
    }  # fmt: skip


def test_without_a_goal_nothing_is_said():
    assert Measure("name", 1.0, "s").holds is None


def test_a_process_loads_what_it_is_told_and_says_how_much_memory_it_used(fresh_database, tmp_path):
    line, path = json.dumps({"event": "e", "timestamp": 1772442000}) + "\n", tmp_path / "repeated.ndjson"
    (tmp_path / "one.ndjson").write_text(line)
    repeat_lines(tmp_path / "one.ndjson", path, 10 * len(line) - 1)
    assert path.read_text() == line * 10
    with loading_process(fresh_database) as process:
        peak = load_in(process, path)()
    assert 10_000_000 < peak < 1_000_000_000
    with connect(fresh_database) as connection:
        assert connection.execute("select count(*) from raw.events").fetchone() == (10,)
