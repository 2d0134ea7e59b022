"""Recommendations, and decisions on them that no build forgets; what AI use goes along with; revenue; users' days."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from click.testing import CliRunner

from ingest.connection import connect
from ingest.errors import TidemarkError
from orchestration.__main__ import orchestration
from orchestration.recommendations import ACCEPTED, DISMISSED, OPEN, decide, recommendations
from tests.warehouse.conftest import Warehouse

APRIL = "2026-04-01T00:00:00Z"
MARTS = (
    "ai_impact", "agg_revenue", "agg_user_summary", "agg_feature_model_daily", "agg_feature_model_latency",
    "agg_usage_daily",
)  # fmt: skip
FOUND = """
select rule, feature_id, model, suggestion, estimated_saving_usd, severity, priority, state, is_current
from marts.recommendations order by rule, model
"""


TWIN = """
insert into ops.recommendation_decisions
select (jsonb_populate_record(known, jsonb_build_object('recommendation_key', %s::text))).*
from ops.recommendation_decisions as known where recommendation_key = %s::uuid
"""


def request(number: int, model: str, at: str, cost: str, **more: object) -> bytes:
    """A request of the feature `answer`, each in a visit of its own, of 1,000 tokens in a second."""
    record = {
        "requestId": f"r{number}", "sessionId": f"s{number}", "userId": f"u{number % 2}", "appId": "shop",
        "featureId": "answer", "modelId": model, "provider": "lab", "timestamp": at, "cost": cost,
        "inputTokens": 800, "outputTokens": 200, "responseTime": 1000,
    }  # fmt: skip
    return json.dumps(record | more).encode()


def purchase(number: int, at: str, session: str, revenue: str, currency: str) -> bytes:
    """A conversion with a value."""
    record = {"eventId": f"e{number}", "eventName": "purchase_completed", "appId": "shop", "sessionId": session}
    money = {"timestamp": at, "revenue": revenue, "currency": currency, "isConversion": True}
    return json.dumps(record | money).encode()


def requests() -> list[bytes]:
    """In March 150 of model big at 10 cents, of which 10 fail, and 150 of small at 4; on 1 April a thousand dollars."""
    day = "2026-03-{:02d}T{:02d}:00:00Z".format
    sent = [request(n, "big", day(2 + n % 30, n % 24), "0.10", **({"status": "error"} if n < 10 else {}))
            for n in range(150)]  # fmt: skip
    sent += [request(n, "small", day(2 + n % 30, n % 24), "0.04") for n in range(150, 300)]
    return [*sent, request(300, "big", "2026-04-01T00:00:00Z", "1000")]


@pytest.fixture(scope="module")
def built(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    """A month of requests and two purchases, built as of 1 April. Copied, never changed."""
    warehouse = make_warehouse()
    warehouse.load("llm_requests", requests())
    warehouse.load(
        "events",
        [
            purchase(1, "2026-03-02T00:01:00Z", "s0", "30", "USD"),
            purchase(2, "2026-03-02T00:02:00Z", "s0", "12.5", "usd"),
            purchase(3, "2026-03-02T00:03:00Z", "s0", "70", "XXX"),
        ],
    )
    warehouse.refresh(APRIL)
    return warehouse


@pytest.fixture
def warehouse(built: Warehouse, copy_warehouse: Callable[[Warehouse], Warehouse]) -> Warehouse:
    return copy_warehouse(built)


@pytest.fixture
def call(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Call `recommendations …` on the warehouse; returns what it prints."""
    for name, value in warehouse.server.environment().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(orchestration, ["recommendations", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def set_clock(warehouse: Warehouse, as_of: str) -> None:
    """What a refresh at that time with nothing new to build does."""
    warehouse.query("update ops.bounds set as_of = %s returning 1", as_of)


def contents(warehouse: Warehouse) -> dict[str, list[tuple]]:
    return {name: sorted(warehouse.query(f"select t::text from marts.{name} as t")) for name in MARTS}


# 30 days: 150 dear requests cost 15 dollars, at the price of the small model 6. 10 of 150 fail: 0.0667 / 0.05.
CHEAPER = ("cheaper_model", "answer", "big", "lab/small", Decimal("9.00"), None, "low", "open", True)
HOT_SPOT = ("error_hot_spot", "answer", "big", None, None, Decimal("1.33"), "low", "open", True)


def test_what_is_recommended_rests_on_the_whole_days_before_today(warehouse):
    assert warehouse.query(FOUND) == [CHEAPER, HOT_SPOT]
    evidence = "select evidence from marts.recommendations where rule = 'cheaper_model'"
    ((found,),) = warehouse.query(evidence)
    assert found == {
        "requests": 150, "quality_rate": 0.9333, "cost_usd": 15, "cost_per_request_usd": 0.1,
        "cost_per_1k_tokens_usd": 0.1, "cheaper_requests": 150, "cheaper_quality_rate": 1,
        "cheaper_cost_per_request_usd": 0.04, "cheaper_cost_per_1k_tokens_usd": 0.04,
    }  # fmt: skip
    # A day later the thousand dollars count and 2 March does not: 5 requests of each model were made on each day.
    set_clock(warehouse, "2026-04-02T00:00:00Z")
    assert warehouse.query(FOUND)[0][4] == Decimal("1014.5") - Decimal("0.04") * 146
    set_clock(warehouse, "2026-06-01T00:00:00Z")
    assert warehouse.query(FOUND) == []


def test_decisions_and_marts_outlive_late_records_and_whole_builds(warehouse, call):
    listed = call()
    assert "Answer answer with lab/small instead of lab/big" in listed
    assert "9.00" in listed
    key = next(line.split()[0] for line in listed.splitlines() if "cheaper_model" in line)
    assert call("dismiss", key, "--note", "answers too short").startswith("dismissed: Answer answer with lab/small")
    assert warehouse.query(FOUND) == [(*CHEAPER[:7], "dismissed", True), HOT_SPOT]
    assert "cheaper_model" not in call()
    assert "answers too short" in call("--all")

    before = contents(warehouse)
    late = request(500, "big", "2026-03-05T12:00:00Z", "11", sessionId="s3")
    # The first visit of u0 is another user's now.
    warehouse.load("llm_requests", [late, request(501, "small", "2026-03-02T00:05:00Z", "1", sessionId="s0",
                                                  userId="u9", featureId="voice")])  # fmt: skip
    warehouse.load("events", [purchase(9, "2026-03-05T12:00:30Z", "s3", "-5", "USD")])
    assert warehouse.refresh("2026-04-01T06:00:00Z").rebuilt == []
    piecewise = contents(warehouse)
    assert {name for name in MARTS if piecewise[name] != before[name]} == set(MARTS)
    # 151 requests for 26 dollars; at the other's price they are 151 * 0.04. Of 151 fail 10.
    found = [
        (*CHEAPER[:4], 26 - Decimal("6.04"), None, "medium", "dismissed", True),
        (*HOT_SPOT[:5], Decimal("1.32"), *HOT_SPOT[6:]),
    ]
    assert warehouse.query(FOUND) == found

    warehouse.query("delete from ops.model_state returning 1")
    assert len(warehouse.refresh("2026-04-01T12:00:00Z").rebuilt) > 20
    assert contents(warehouse) == piecewise
    assert warehouse.query(FOUND) == found
    told = "select note, decided_by = session_user, first_seen_at from marts.recommendations order by rule"
    first_seen = datetime(2026, 4, 1, tzinfo=timezone.utc)
    assert warehouse.query(told) == [("answers too short", True, first_seen), (None, None, first_seen)]


def test_what_was_decided_stays_when_its_rule_no_longer_says_it(warehouse, call):
    ((key,),) = warehouse.query(
        "select recommendation_key::text from marts.recommendations where rule = 'cheaper_model'"
    )
    call("accept", key)
    set_clock(warehouse, "2026-06-01T00:00:00Z")
    assert warehouse.query(FOUND) == [(*CHEAPER[:7], "accepted", False)]
    assert call() == "no recommendations\n"
    call("dismiss", key, "--note", "too late")
    assert warehouse.query(FOUND) == [(*CHEAPER[:7], "dismissed", False)]
    call("reopen", key)
    assert warehouse.query(FOUND) == []
    assert warehouse.query("select state, note from ops.recommendation_decisions") == [(OPEN, None)]
    set_clock(warehouse, APRIL)
    assert warehouse.query(FOUND) == [CHEAPER, HOT_SPOT]


def test_json_holds_everything(call):
    first, second = (json.loads(line) for line in call("--json").splitlines())
    assert (first["rule"], first["estimated_saving_usd"], first["evidence"]["requests"]) == ("cheaper_model", 9, 150)
    assert second["state"] == "open"


def test_a_key_must_mean_one_recommendation(warehouse, make_warehouse):
    with contextlib.closing(connect(warehouse.server, autocommit=True)) as connection:
        keys = sorted(str(row["recommendation_key"]) for row in recommendations(connection))
        with pytest.raises(TidemarkError, match="is no key of a recommendation: `python -m orchestration rec"):
            decide(connection, "", DISMISSED)
        for wrong in ("%", "' or true --", "g", "0" * 37):
            with pytest.raises(TidemarkError, match="is no key of a recommendation"):
                decide(connection, wrong, DISMISSED)
        unknown = next(digit for digit in "0123456789abcdef" if digit not in {key[0] for key in keys})
        with pytest.raises(TidemarkError, match=f"No recommendation has a key that begins with '{unknown}'"):
            decide(connection, unknown, ACCEPTED)
        assert connection.execute("select count(*) from ops.recommendation_decisions").fetchone() == (0,)
        assert decide(connection, keys[0].upper(), ACCEPTED)["recommendation_key"] == keys[0]
        # Another one whose key differs in its 30th place alone.
        twin = keys[0][:29] + ("0" if keys[0][29] != "0" else "1") + keys[0][30:]
        connection.execute(TWIN, [twin, keys[0]])
        with pytest.raises(TidemarkError, match=r"2 recommendations have a key .* give more of it") as refused:
            decide(connection, keys[0][:29], DISMISSED)
        assert keys[0][:30] in str(refused.value)
        assert decide(connection, twin[:30], DISMISSED)["recommendation_key"] == twin
    with contextlib.closing(connect(make_warehouse().server, autocommit=True)) as connection:
        for ask in (lambda: recommendations(connection), lambda: decide(connection, "a", ACCEPTED)):
            with pytest.raises(TidemarkError, match="no recommendations yet: run `make refresh`"):
                ask()


def test_a_conversion_s_value_is_in_dollars_once_and_unknown_money_is_listed(warehouse):
    revenue = "select sum(revenue_usd), sum(paying_sessions), sum(converted_sessions) from marts.agg_revenue"
    assert warehouse.query(revenue) == [(Decimal("42.5"), 1, 1)]
    listed = "select goal_date::text, app_id, currency, conversions, value from marts.agg_unconverted_values"
    assert warehouse.query(listed) == [("2026-03-02", "shop", "XXX", 1, 70)]
    # Two users: one with requests 0, 2, 4, … of either model, and the thousand dollars; 75 of each model in March.
    users = (
        "select user_id, sum(requests), sum(cost_usd), sum(sessions) from marts.agg_user_summary group by 1 order by 1"
    )
    assert warehouse.query(users) == [("u0", 151, Decimal("1010.5"), 151), ("u1", 150, Decimal("10.5"), 150)]
