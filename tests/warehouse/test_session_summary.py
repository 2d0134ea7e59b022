"""The session provider's own example queries on `analytics_session_summary`, as its document states them.

Only the relation's name differs, where a query reads the table; and one that takes the array length of an object
counts its keys instead.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest

from ingest.connection import connect

ONE_WORKSPACE = """
SELECT * FROM analytics_session_summary
WHERE workspace_id = %s;
"""

BY_PLAN = """
SELECT
metadata->>'plan' as plan,
COUNT(*) as total_sessions,
COUNT(*) FILTER (WHERE conversion_achieved) as conversions,
(COUNT(*) FILTER (WHERE conversion_achieved)::float / COUNT(*)) * 100 as conversion_rate
FROM analytics_session_summary
GROUP BY metadata->>'plan';
"""

BY_TEAM_SIZE = """
SELECT
CASE
WHEN (metadata->>'workspace_size')::int <= 5 THEN 'small'
WHEN (metadata->>'workspace_size')::int <= 20 THEN 'medium'
ELSE 'large'
END as team_size,
AVG((SELECT COUNT(*) FROM jsonb_object_keys(feature_interactions))) as avg_features_used
FROM analytics_session_summary
WHERE metadata->>'workspace_size' IS NOT NULL
GROUP BY 1;
"""

BY_VARIANT = """
SELECT
metadata->>'experiment_variant' as variant,
AVG(session_duration_ms) as avg_session_duration,
COUNT(*) FILTER (WHERE conversion_achieved) as conversions
FROM analytics_session_summary
WHERE metadata ? 'experiment_variant'
GROUP BY metadata->>'experiment_variant';
"""

# The columns of the document's table and view, without those that describe one batch.
DOCUMENTED = {
    "session_id", "user_id", "started_at", "ended_at", "session_duration_ms", "path_sequence", "path_timings",
    "entry_point", "exit_point", "interaction_summary", "goal_events", "feature_interactions", "page_load_times",
    "error_events", "llm_interactions", "llm_token_usage", "llm_cost_estimate", "metadata", "session_type",
    "conversion_achieved", "pages_visited", "bounce_session", "batch_count",
}  # fmt: skip


class Summary:
    """Queries as an analyst sends them: the schema is on the search path."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        connection.execute("set search_path = marts")

    def rows(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        cursor = self.connection.execute(statement, parameters or None)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


@pytest.fixture(scope="module")
def summary(sample_warehouse):
    with contextlib.closing(connect(sample_warehouse.server, autocommit=True)) as connection:
        yield Summary(connection)


@pytest.fixture(scope="module")
def sessions(summary) -> dict[str, list[dict[str, Any]]]:
    """Session id → its visits in order, of sessions that have an id."""
    visits = defaultdict(list)
    for visit in summary.rows("select * from fct_sessions order by started_at"):
        kind, _, identifier = visit["session_group"].partition(":")
        if kind == "s":
            visits[identifier].append(visit)
    return visits


def last_told(visits: list[dict[str, Any]], key: str) -> Any:
    """The last value of a metadata key that is not null."""
    told = [visit["metadata"][key] for visit in visits if (visit["metadata"] or {}).get(key) is not None]
    return told[-1] if told else None


def converted(visits: list[dict[str, Any]]) -> bool:
    return any(visit["converted"] for visit in visits)


def test_it_has_the_documents_columns(summary):
    (row,) = summary.rows("select * from analytics_session_summary limit 1")
    assert row.keys() >= DOCUMENTED
    assert row.keys() >= {"workspace_id", "plan", "workspace_size", "experiment_variant", "user_role", "team_id"}


def test_all_sessions_of_a_workspace(summary, sessions):
    workspace = max(
        {visit["workspace_id"] for visits in sessions.values() for visit in visits if visit["workspace_id"]}
    )
    found = {row["session_id"]: row for row in summary.rows(ONE_WORKSPACE, workspace)}
    expected = {
        identifier
        for identifier, visits in sessions.items()
        if [visit["workspace_id"] for visit in visits if visit["workspace_id"]][-1:] == [workspace]
    }
    assert expected
    assert found.keys() == expected
    for identifier, row in found.items():
        visits = sessions[identifier]
        assert row["pages_visited"] == sum(visit["pages_visited"] for visit in visits)
        assert row["path_sequence"] == [page for visit in visits for page in visit["path_sequence"]]
        assert len(row["path_timings"]) == len(row["path_sequence"])
        assert row["path_timings"] == sorted(row["path_timings"])
        assert len(row["error_events"]) == sum(visit["error_count"] for visit in visits)
        assert len(row["llm_interactions"]) == sum(visit["llm_request_count"] for visit in visits)
        assert sum(row["interaction_summary"].values()) == sum(visit["interaction_count"] for visit in visits)
        assert sorted(row["feature_interactions"]) == sorted({f for visit in visits for f in visit["features_used"]})


def test_conversion_rates_by_plan(summary, sessions):
    expected = defaultdict(list)
    for visits in sessions.values():
        expected[last_told(visits, "plan")].append(converted(visits))
    found = {row["plan"]: row for row in summary.rows(BY_PLAN)}
    assert len(found) > 2
    assert {plan: (row["total_sessions"], row["conversions"]) for plan, row in found.items()} == {
        plan: (len(told), sum(told)) for plan, told in expected.items()
    }
    for row in found.values():
        assert row["conversion_rate"] == pytest.approx(100 * row["conversions"] / row["total_sessions"])


def test_features_by_team_size(summary, sessions):
    used = defaultdict(list)
    for visits in sessions.values():
        size = last_told(visits, "workspace_size")
        if size is not None:
            band = "small" if size <= 5 else "medium" if size <= 20 else "large"
            used[band].append(len({feature for visit in visits for feature in visit["features_used"]}))
    found = {row["team_size"]: float(row["avg_features_used"]) for row in summary.rows(BY_TEAM_SIZE)}
    assert found.keys() == {"small", "medium", "large"}
    assert found == pytest.approx({band: sum(counts) / len(counts) for band, counts in used.items()})


def test_durations_by_experiment_variant(summary, sessions):
    durations, conversions = defaultdict(list), defaultdict(int)
    for visits in sessions.values():
        variant = last_told(visits, "experiment_variant")
        if variant is not None:
            durations[variant].append(sum(visit["duration_seconds"] for visit in visits) * 1000)
            conversions[variant] += converted(visits)
    found = {row["variant"]: row for row in summary.rows(BY_VARIANT)}
    assert len(found) > 1
    assert {variant: row["conversions"] for variant, row in found.items()} == conversions
    for variant, row in found.items():
        assert float(row["avg_session_duration"]) == pytest.approx(
            float(sum(durations[variant]) / len(durations[variant])), abs=1
        )


def test_it_sums_to_what_happened_in_sessions(summary, sessions, sample):
    """Only the browser and the widget send session ids: what they saw is in it, the rest stands beside it."""
    (total,) = summary.rows(
        "select count(*) as sessions, sum(pages_visited) as pages, sum(llm_cost_estimate) as cost"
        " from analytics_session_summary"
    )
    (beside,) = summary.rows(
        "select sum(pages_visited) as pages, coalesce(sum(llm_cost_usd), 0) as cost from fct_sessions"
        " where session_group not like 's:%'"
    )
    truth = sample[1]["totals"]["all"]
    assert total["sessions"] == len(sessions)
    assert total["pages"] + (beside["pages"] or 0) == truth["page_views"]
    assert total["cost"] + beside["cost"] == Decimal(truth["cost_usd"])


def test_clicks_sum_to_what_was_clicked(summary, sample):
    clicks = summary.rows(
        "select pair.key, sum(pair.value::bigint)::bigint as count"
        " from analytics_session_summary cross join jsonb_each_text(interaction_summary) as pair group by pair.key"
    )
    assert {row["key"]: row["count"] for row in clicks} == sample[1]["interactions"]
