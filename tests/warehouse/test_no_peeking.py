"""Law 6: what is said of a bucket stays, whatever comes after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.warehouse.conftest import Warehouse

JUDGED = """
select
    rule, app_id, first_seen_at, last_seen_at, bucket_at, severity,
    current_value, expected_value, lower_bound, upper_bound
from marts.fct_anomalies
where last_seen_at < %s::timestamptz - interval '1 hour'
order by rule, app_id, first_seen_at
"""


@pytest.mark.parametrize("moment", ["2026-03-26 00:00+00", "2026-03-30 13:00+00"])
def test_a_later_bucket_changes_no_earlier_verdict(
    sample_warehouse: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse], moment: str
):
    # An hour's grace: an anomaly that still lasts at the moment may grow afterwards.
    before = sample_warehouse.query(JUDGED, moment)
    assert before
    earlier = copy_warehouse(sample_warehouse)
    earlier.refresh(as_of=moment)
    assert earlier.query(JUDGED, moment) == before
    assert earlier.query("select max(bucket_at) < %s::timestamptz from marts.metric_observations", moment) == [(True,)]
