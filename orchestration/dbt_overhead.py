"""What dbt would spend on every node and statement of a refresh for nothing."""

from __future__ import annotations

from orchestration.dbt_connections import keep_connections
from orchestration.dbt_events import compose_heard_events


def spare_overhead() -> None:
    """From now on dbt's calls in this process keep their connections and compose no event that nobody hears."""
    keep_connections()
    compose_heard_events()
