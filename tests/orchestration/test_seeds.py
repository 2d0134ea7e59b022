"""What is wrong in a seed is said with its file and line."""

from pathlib import Path
from typing import Any

import pytest

from ingest.errors import TidemarkError
from orchestration import seeds

BUDGETS = {
    "budget": "text",
    "amount_usd": "numeric",
    "order_number": "integer",
    "is_on": "boolean",
    "valid_from": "date",
}
GOOD = "budget,amount_usd,order_number,is_on,valid_from\na,10.5,1,true,2026-01-01\nb,,2,false,-infinity\n"


def seed(folder: Path, name: str, types: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "resource_type": "seed",
        "root_path": str(folder),
        "original_file_path": f"seeds/{name}.csv",
        "config": {"column_types": types},
    }


def told(attached: str, name: str, **kwargs: Any) -> dict[str, Any]:
    return {
        "resource_type": "test",
        "attached_node": f"seed.{attached}",
        "config": {"where": None},
        "test_metadata": {"name": name, "kwargs": kwargs},
    }


@pytest.fixture
def manifest(tmp_path: Path) -> dict[str, Any]:
    """Two seeds: budgets, and at which hour of which zone they are told to whom."""
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds/budgets.csv").write_text(GOOD)
    (tmp_path / "seeds/hours.csv").write_text("budget,hour,since\na,08:30,2026-01-01T00:00:00Z\n")
    return {
        "nodes": {
            "seed.budgets": seed(tmp_path, "budgets", BUDGETS),
            "seed.hours": seed(tmp_path, "hours", {"budget": "text", "hour": "time", "since": "timestamptz"}),
            "test.1": told("budgets", "not_null", column_name="is_on"),
            "test.2": told("budgets", "unique_key", columns=["order_number"]),
            "test.3": told("budgets", "accepted_values", column_name="budget", values=["a", "b", "c"]),
            "test.4": told("hours", "relationships", column_name="budget", to="ref('budgets')", field="budget"),
        }
    }


def test_nothing_is_said_of_what_is_right(manifest, tmp_path):
    seeds.check(manifest)
    # as dbt reads it: a byte order mark, other ends of lines, columns in another order, a text over two lines
    (tmp_path / "seeds/budgets.csv").write_bytes(
        b"\xef\xbb\xbfvalid_from,budget,amount_usd,order_number,is_on\r\n2026-01-01,a,1e3, 7 ,TRUE\r\n"
    )
    (tmp_path / "seeds/hours.csv").write_text('budget,hour,since\n"a",08:30:15.5,2026-01-01 10:00:00+02\nnull,,\n')
    seeds.check(manifest)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a,10.5,", "a,1'000,", 'line 2: amount_usd is "1\'000", not a number.'),
        ("a,10.5,", "a,NaN,", 'line 2: amount_usd is "NaN", not a number.'),
        ("b,,2", "b,,2.0", 'line 3: order_number is "2.0", not a whole number.'),
        ("false", "no", 'line 3: is_on is "no", not true or false.'),
        ("false", "", "line 3: is_on is missing."),
        ("false", "NULL", "line 3: is_on is missing."),
        ("2026-01-01", "2026-02-30", 'line 2: valid_from is "2026-02-30", not a date such as 2026-03-31.'),
        ("2026-01-01", "1.2.2026", 'line 2: valid_from is "1.2.2026", not a date'),
        ("b,,2", "b,,01", 'line 3: order_number "01" is there already, in line 2.'),
        ("b,,2", "b,,", "line 3: order_number is missing, a part of the key."),
        ("b,,2", "d,,2", 'line 3: budget is "d", none of a, b, c.'),
        ("b,,2", "b,2", "line 3: the line has not as many fields as the first."),
        ("b,,2", "b,1,5,2", "line 3: the line has not as many fields as the first."),
        ("b,,2", "\nb,,2", "line 3: the line is empty"),
        ("amount_usd", "amount", "line 1: the columns must be budget,amount_usd,order_number,is_on,valid_from."),
        ("\na,10.5", '\n"a,10.5', "seeds/budgets.csv cannot be read"),
        ('\na,10.5,1,true,2026-01-01\nb,,2', '\n"a\nb",10.5,1,true,2026-01-01\nb,,2.5', 'line 4: order_number'),
        ("a,10.5", "ä\ud800,10.5", "seeds/budgets.csv cannot be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(manifest, tmp_path, old, new, said):
    assert GOOD.count(old) == 1
    (tmp_path / "seeds/budgets.csv").write_bytes(GOOD.replace(old, new).encode("utf-8", "surrogatepass"))
    with pytest.raises(TidemarkError) as error:
        seeds.check(manifest)
    first = str(error.value).splitlines()[0]
    assert first.startswith("seeds/budgets.csv"), first
    assert said in first


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("d,08:30,2026-01-01T00:00:00Z", 'budget is "d", which seeds/budgets.csv does not list.'),
        ("a,25:00,2026-01-01T00:00:00Z", 'hour is "25:00", not a time of day such as 08:30.'),
        ("a,08:30,2026-01-01T00:00:00", 'since is "2026-01-01T00:00:00", not a time with its zone'),
        ("a,08:30,2026-13-01T00:00:00Z", 'since is "2026-13-01T00:00:00Z", not a time with its zone'),
    ],
)
def test_times_and_references(manifest, tmp_path, row, said):
    (tmp_path / "seeds/hours.csv").write_text(f"budget,hour,since\n{row}\n")
    with pytest.raises(TidemarkError) as error:
        seeds.check(manifest)
    assert str(error.value).startswith(f"seeds/hours.csv, line 2: {said}")


def test_all_is_said_at_once_up_to_ten(manifest, tmp_path):
    (tmp_path / "seeds/budgets.csv").write_text(
        "budget,amount_usd,order_number,is_on,valid_from\n" + "".join(f"a,x,{n},true,2026-01-01\n" for n in range(12))
    )
    with pytest.raises(TidemarkError) as error:
        seeds.check(manifest)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines[:10]] == [f"seeds/budgets.csv, line {n + 2}" for n in range(10)]
    assert lines[10:] == ["… and 2 more.", "Mend that and refresh again: nothing was touched."]


def test_a_missing_file_is_named(manifest, tmp_path):
    (tmp_path / "seeds/hours.csv").unlink()
    with pytest.raises(TidemarkError, match=r"seeds/hours\.csv cannot be read"):
        seeds.check(manifest)
