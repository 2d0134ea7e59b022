"""Attribution: credits worked out by hand, and that those of a conversion always add up to exactly 1."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.connection import connect
from tests.warehouse.acquisition import acquisition_macros
from tests.warehouse.conftest import Warehouse

MODELS = ("first_touch", "last_touch", "last_non_direct", "linear", "time_decay", "position_based")
# Conversion → its touches: seconds before the conversion, and whether the touch is passed over.
Touches = dict[str, list[tuple[int, bool]]]
WEEK = 7 * 86400


def credits(connection: psycopg.Connection, conversions: Touches) -> dict[str, list[tuple[Decimal, ...]]]:
    """Conversion → the credits of its touches by every model, oldest touch first."""
    rows = [
        (name, number, len(touches), seconds, passed_over)
        for name, touches in conversions.items()
        for number, (seconds, passed_over) in enumerate(sorted(touches, reverse=True), 1)
    ]
    connection.execute(
        "create temporary table cases (name text, touch_number bigint, touch_count bigint, seconds bigint, "
        "is_passed_over boolean) on commit drop"
    )
    with connection.cursor() as cursor:
        with cursor.copy("copy cases from stdin") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(
            f"""
            with touches as (
                select
                    's' as session_group, md5(name)::uuid as conversion_id, cases.*,
                    timestamptz '2026-03-20 12:00+00' - seconds * interval '1 second' as touched_at
                from cases
            ),
            credited as ({acquisition_macros().attribution_credits("touches")})
            select name, {", ".join(f"{model}_credit" for model in MODELS)} from credited order by name, touch_number
            """
        )
        found = defaultdict(list)
        for name, *credit in cursor.fetchall():
            found[name].append(tuple(credit))
    connection.rollback()
    return found


def test_credits_are_those_worked_out_by_hand(sample_warehouse):
    """With the seed's half-life of 7 days and shares of 0.4.

    weeks: 14, 7 and 0 days old, Direct at the end: by age 1/4 : 1/2 : 1, which is 142857.14, 285714.29 and 571428.57
    millionths; the one that is left goes to the last, which lost most. pair: 1/3 and 2/3. five: what is between has 0.2
    for three, 66666.67 millionths each; two of them are rounded up.
    """
    weeks = [(2 * WEEK, False), (WEEK, False), (0, True)]
    with contextlib.closing(connect(sample_warehouse.server)) as connection:
        found = credits(
            connection,
            {
                "weeks": weeks,
                "older": [(seconds + 30 * 86400, passed_over) for seconds, passed_over in weeks],
                "pair": [(WEEK, False), (0, False)],
                "alone": [(30 * 86400, False)],
                "direct": [(WEEK, True), (0, True)],
                "five": [(0, False)] * 4 + [(0, True)],
            },
        )
    one, none = Decimal(1), Decimal(0)
    sevenths = [Decimal("0.142857"), Decimal("0.285714"), Decimal("0.571429")]
    thirds = [Decimal("0.333334"), Decimal("0.333333"), Decimal("0.333333")]
    ends = [Decimal("0.4"), Decimal("0.2"), Decimal("0.4")]
    expected = {
        "weeks": list(
            zip([one, none, none], [none, none, one], [none, one, none], thirds, sevenths, ends, strict=True)
        ),
        "alone": [(one,) * 6],
    }
    expected["older"] = expected["weeks"]
    half, by_age = [Decimal("0.5")] * 2, [Decimal("0.333333"), Decimal("0.666667")]
    expected["pair"] = list(zip([one, none], [none, one], [none, one], half, by_age, half, strict=True))
    expected["direct"] = expected["pair"]
    fifth, middle = Decimal("0.2"), (Decimal("0.066667"), Decimal("0.066667"), Decimal("0.066666"))
    assert found.keys() == expected.keys() | {"five"}
    for name, rows in expected.items():
        assert found[name] == rows, name
    assert [row[3] for row in found["five"]] == [fifth] * 5
    assert [row[4] for row in found["five"]] == [fifth] * 5
    assert [row[5] for row in found["five"]] == [Decimal("0.4"), *middle, Decimal("0.4")]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    conversions=st.lists(
        st.lists(st.tuples(st.integers(0, 90 * 86400), st.booleans()), min_size=1, max_size=40),
        min_size=1,
        max_size=25,
    )
)
def test_credits_of_a_conversion_add_up_to_exactly_1(sample_warehouse: Warehouse, conversions):
    with contextlib.closing(connect(sample_warehouse.server)) as connection:
        found = credits(connection, {f"c{number}": touches for number, touches in enumerate(conversions)})
    assert len(found) == len(conversions)
    for number, touches in enumerate(conversions):
        rows = found[f"c{number}"]
        assert len(rows) == len(touches)
        for place, model in enumerate(MODELS):
            shares = [row[place] for row in rows]
            assert sum(shares) == 1, (model, touches)
            assert all(0 <= share <= 1 and share == round(share, 6) for share in shares), (model, touches)
        # None is rounded by more than a millionth, and of two touches the older never decays less.
        linear = [row[3] for row in rows]
        assert max(linear) - min(linear) <= Decimal("0.000001")
        decayed = [row[4] for row in rows]
        assert all(later - earlier >= Decimal("-0.000001") for earlier, later in pairwise(decayed))
