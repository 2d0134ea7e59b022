"""Law 6: what is said of a bucket stays, whatever comes after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.warehouse.conftest import Warehouse

JUDGED = """
select
    anomaly_key, first_seen_at, last_seen_at, bucket_at, severity, current, expected, lower, upper, explanation
from marts.fct_anomalies
inner join staging.anomaly_rules using (rule)
where last_seen_at < %s::timestamptz - greatest(cool_down_minutes, grain_minutes) * interval '1 minute'
order by anomaly_key
"""


@pytest.mark.parametrize("moment", ["2026-03-26 00:00+00", "2026-03-30 13:00+00"])
def test_a_later_bucket_changes_no_earlier_verdict(
    sample_warehouse: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse], moment: str
):
    # An anomaly that still lasts at the moment, or whose rule has not cooled down, may grow afterwards.
    before = sample_warehouse.query(JUDGED, moment)
    assert before
    earlier = copy_warehouse(sample_warehouse)
    earlier.refresh(as_of=moment)
    assert earlier.query(JUDGED, moment) == before
    assert earlier.query("select max(bucket_at) < %s::timestamptz from marts.metric_observations", moment) == [(True,)]
